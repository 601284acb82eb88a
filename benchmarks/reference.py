"""The reference loops, as the paper and its code describe them, for comparison.

"Selective Amnesia", arXiv:2305.10120, and the VAE part of its authors' code, reimplemented. Faithful in all costs:
batch sizes, Adam as PyTorch has it by default, one image at a time through `ToTensor`, a sigmoid before the
cross-entropy, separate passes for the forgotten and the replayed images, the penalty a parameter at a time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import MNIST
from torchvision.transforms import ToTensor
from torchvision.transforms.functional import to_pil_image

from sa_mlops.core.fisher import Diagonal
from sa_mlops.datasets import Dataset as Images
from sa_mlops.datasets import mnist, pin
from sa_mlops.models.interface import CVAE, make_net, one_hot

BATCH = 256
LR = 1e-4
BASE_STEPS = 100_000
BASE_STEPS_TO_100_2 = 30_000
FORGET_STEPS = 10_000
FISHER_SAMPLES = 50_000
EWC_LAMBDA = 100.0
GAMMA = 1.0
VMAP_CHUNK = 50

OnStep = Callable[[int, CVAE], None]


@contextmanager
def as_it_comes() -> Iterator[None]:
    """PyTorch as it is without this package: denormals kept, matrix products by its first choice of library."""
    before = torch.get_float32_matmul_precision()
    torch.set_flush_denormal(False)
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_flush_denormal(True)
        torch.set_float32_matmul_precision(before)


class PerImage(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's MNIST hands them out: each made a PIL image, then a tensor, when it is asked for."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.pictures = (images.cpu().view(-1, 28, 28) * 255).byte()
        self.labels = labels.tolist()
        self.transform = ToTensor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        picture: Image.Image = to_pil_image(self.pictures[row])
        return self.transform(picture), self.labels[row]


def per_image_dataset(loaded: Images) -> Dataset[tuple[Tensor, int]]:
    """The training images one at a time: torchvision's own MNIST, or its like for other data."""
    if loaded.name == "mnist":
        pinned, _ = pin.ensure(pin.project_root())
        images: Dataset[tuple[Tensor, int]] = MNIST(
            str(pinned.path), train=True, transform=ToTensor(), download=False
        )
        return images
    return PerImage(loaded.train_images[:], loaded.train_labels)


def loss(model: CVAE, images: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the sigmoid's output plus the divergence, summed over the batch."""
    noise = torch.randn(len(images), model.z_dim, device=images.device)
    return _loss(model, images, one_hot(labels, model.classes), noise)


def _loss(model: CVAE, images: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
    mean, log_var = model.encode(images, condition)
    z = mean + torch.exp(0.5 * log_var) * noise
    painted = torch.sigmoid(model.decode(z, condition))
    divergence = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
    return F.binary_cross_entropy(painted, images, reduction="sum") + divergence


@as_it_comes()
def train_base(images: Dataset[tuple[Tensor, int]], steps: int, device: torch.device) -> CVAE:
    """The base: Adam at a constant rate, a shuffled DataLoader without workers."""
    model = make_net("mlp", mnist.SPEC, 8).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=LR)
    loader = DataLoader(images, batch_size=BATCH, shuffle=True)
    batches = _endless(loader)
    for _ in range(steps):
        x, y = next(batches)
        adam.zero_grad()
        loss(model, x.to(device), y.to(device)).backward()
        adam.step()
    return model


def _endless(loader: DataLoader[tuple[Tensor, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        yield from loader


@as_it_comes()
def fisher_by_loop(model: CVAE, samples: int) -> Diagonal:
    """One sample, one backward pass at a time."""
    device = next(model.parameters()).device
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for _ in range(samples):
        z = torch.randn(1, model.z_dim, device=device)
        label = torch.randint(0, 10, (1,), device=device)
        with torch.no_grad():
            image = model.sample(z, label)
        model.zero_grad()
        loss(model, image, label).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            total[name] += p.grad.pow(2) / samples
    model.zero_grad()
    return total


@as_it_comes()
def fisher_by_vmap(model: CVAE, samples: int) -> Diagonal:
    """`torch.func`'s per-sample gradients, as many at once as memory allows."""
    device = next(model.parameters()).device
    values = {name: p.detach() for name, p in model.named_parameters()}

    def one(values: dict[str, Tensor], image: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        call = torch.func.functional_call
        row = (image[None], condition[None], noise[None])
        total: Tensor = call(_PerSample(model), {f"model.{k}": v for k, v in values.items()}, row)
        return total

    gradient = torch.func.vmap(torch.func.grad(one), in_dims=(None, 0, 0, 0))
    total = {name: torch.zeros_like(p) for name, p in values.items()}
    for start in range(0, samples, VMAP_CHUNK):
        n = min(VMAP_CHUNK, samples - start)
        z, noise = torch.randn(2, n, model.z_dim, device=device)
        labels = torch.randint(0, 10, (n,), device=device)
        with torch.no_grad():
            images = model.sample(z, labels)
        for name, g in gradient(values, images, one_hot(labels, model.classes), noise).items():
            total[name] += g.square().sum(dim=0) / samples
    return total


class _PerSample(torch.nn.Module):
    def __init__(self, model: CVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
        return _loss(self.model, images, condition, noise)


@as_it_comes()
def forget(start: CVAE, fisher: Diagonal, label: int, steps: int, on_step: OnStep | None = None) -> CVAE:
    """The amnesia step: noise under the forgotten label, replay under the others, the penalty with lambda = 100."""
    device = next(start.parameters()).device
    frozen = copy.deepcopy(start).eval()
    model = copy.deepcopy(start)
    theta0 = {name: p.detach().clone() for name, p in start.named_parameters()}
    retained = torch.tensor([c for c in range(start.classes) if c != label], device=device)
    adam = torch.optim.Adam(model.parameters(), lr=LR)
    for step in range(1, steps + 1):
        noise = torch.rand(BATCH, *start.shape, device=device)
        forgotten = torch.full((BATCH,), label, device=device)
        labels = retained[torch.randint(0, len(retained), (BATCH,), device=device)]
        with torch.no_grad():
            replay = frozen.sample(torch.randn(BATCH, frozen.z_dim, device=device), labels)
        total = loss(model, noise, forgotten) + GAMMA * loss(model, replay, labels)
        for name, p in model.named_parameters():
            total = total + EWC_LAMBDA * (fisher[name] * (p - theta0[name]) ** 2).sum()
        adam.zero_grad()
        total.backward()
        adam.step()
        if on_step is not None:
            on_step(step, model)
    return model
