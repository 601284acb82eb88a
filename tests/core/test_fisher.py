"""The Fisher diagonal against loops over single samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from draws import seeded
from torch import Tensor, nn

from sa_mlops.core.fisher import (
    Diagonal,
    PerSampleLoss,
    combine,
    elbo_loss,
    fisher_diagonal,
    generator_fisher,
    squared_gradients,
)
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.datasets.spec import DataSpec
from sa_mlops.models.conv import Conv
from sa_mlops.models.interface import CVAE, one_hot
from sa_mlops.models.mlp import MLP
from sa_mlops.settings import FisherSettings

CLOSE = 1e-5
ALL = tuple(range(10))


def one_by_one(model: nn.Module, loss: PerSampleLoss, batch: tuple[Tensor, ...]) -> Diagonal:
    """What the word says: one backward pass a sample, its gradient squared, the squares summed."""
    total = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in model.named_parameters()}
    for i in range(len(batch[0])):
        model.zero_grad()
        loss(model, *(x[i : i + 1] for x in batch)).sum().backward()
        for name, p in model.named_parameters():
            if p.grad is not None:
                total[name] += p.grad.double().square()
    return {name: value.float() for name, value in total.items()}


def relative_error(found: Diagonal, expected: Diagonal) -> float:
    """Largest difference, relative to the largest entry of the same parameter."""
    assert found.keys() == expected.keys()
    return max(
        float((found[name] - value).abs().max() / value.abs().max().clamp(min=1e-30))
        for name, value in expected.items()
    )


def cvae_batch(n: int = 12, z_dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    g = seeded(1)
    return (
        torch.rand(n, 1, 28, 28, generator=g),
        one_hot(torch.randint(10, (n,), generator=g), 10),
        torch.randn(n, z_dim, generator=g),
    )


@pytest.fixture(scope="module")
def cvae() -> CVAE:
    torch.manual_seed(0)
    return MLP(SPEC, 8)


def squared_output(model: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = model(x)
    return out.flatten(1).square().sum(dim=1)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 30, 33)])
def test_on_the_convolutional_generator_it_equals_a_loop(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    net = Conv(DataSpec("", tuple("abc"), shape), 2)
    labels = one_hot(torch.tensor([0, 1, 2, 0]), 3)
    batch = torch.rand(4, *shape, generator=seeded(1)), labels, torch.randn(4, 2, generator=seeded(2))
    found = squared_gradients(net, elbo_loss, batch)
    assert relative_error(found, one_by_one(net, elbo_loss, batch)) < CLOSE


class TestOnTheGenerator:
    def test_every_entry_is_as_close_as_the_largest(self, cvae: CVAE) -> None:
        batch = cvae_batch()
        expected = one_by_one(cvae, elbo_loss, batch)
        for name, value in squared_gradients(cvae, elbo_loss, batch).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=CLOSE * float(value.max()))

    def test_the_net_is_left_trainable_and_without_gradients(self, cvae: CVAE) -> None:
        cvae.zero_grad(set_to_none=True)
        squared_gradients(cvae, elbo_loss, cvae_batch(3))
        assert all(p.requires_grad and p.grad is None for p in cvae.parameters())

    def test_no_hook_is_left_behind_by_a_loss_that_fails(self, cvae: CVAE) -> None:
        def broken(model: CVAE, images: Tensor, labels: Tensor, noise: Tensor) -> Tensor:
            elbo_loss(model, images, labels, noise)
            raise RuntimeError("broken")

        with pytest.raises(RuntimeError, match="broken"):
            squared_gradients(cvae, broken, cvae_batch(2))
        assert all(not m._forward_hooks for m in cvae.modules())

    def test_frozen_parameters_are_measured_too(self) -> None:
        torch.manual_seed(0)
        net = MLP(SPEC, 2)
        batch = cvae_batch(3, z_dim=2)
        expected = squared_gradients(net, elbo_loss, batch)
        found = squared_gradients(net.requires_grad_(False), elbo_loss, batch)
        assert relative_error(found, expected) == 0


class Twice(nn.Module):
    """A Linear layer that runs twice: its gradient is a sum of two outer products."""

    def __init__(self) -> None:
        super().__init__()
        self.shared, self.last = nn.Linear(5, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.shared(torch.tanh(self.shared(x)))))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """Two layers around one weight, as between an encoder and a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 5), nn.Linear(5, 5)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


class Tokens(nn.Module):
    """A Linear layer whose rows are positions, three a sample."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        self.inner, self.last = nn.Linear(5, 4), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.inner(x.reshape(-1, 5) if self.flat else x.reshape(-1, 3, 5))
        return self.last(torch.tanh(tokens).reshape(len(x), -1))  # type: ignore[no-any-return]


class Words(nn.Module):
    """Two words a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.last = nn.Embedding(6, 4), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.words(x).flatten(1)))  # type: ignore[no-any-return]


class Scaled(nn.Module):
    """A parameter that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.rand(5) + 1), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x * self.scale)  # type: ignore[no-any-return]


def floats(*shape: int) -> Tensor:
    return torch.randn(7, *shape, generator=seeded(2))


NETS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "a convolution": (
        lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 2)),
        floats(1, 6, 6),
    ),
    "a convolution with everything set": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(2),
        ),
        floats(2, 7, 6),
    ),
    "a transposed convolution": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1, output_padding=(1, 0)),
            nn.Tanh(),
            nn.Flatten(),
            nn.LazyLinear(2),
        ),
        floats(2, 3, 4),
    ),
    "convolutions in groups, padded to equal size or with other than zeros": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2),
            nn.Tanh(),
            nn.Conv2d(4, 2, 3, padding="same"),
            nn.Tanh(),
            nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"),
            nn.Flatten(),
            nn.LazyLinear(2),
        ),
        floats(2, 5, 5),
    ),
    "LayerNorm": (lambda: nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Linear(4, 2)), floats(5)),
    "a Linear layer used twice": (Twice, floats(5)),
    "two layers with one weight": (Tied, floats(5)),
    "a layer under two names": (lambda: nn.Sequential(*[nn.Linear(5, 5)] * 2), floats(5)),
    "positions in a dimension of their own": (lambda: Tokens(flat=False), floats(15)),
    "positions folded into the rows": (lambda: Tokens(flat=True), floats(15)),
    "an embedding": (Words, torch.randint(6, (7, 2), generator=seeded(3))),
    "a parameter of no layer": (Scaled, floats(5)),
    "no bias": (lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.Tanh(), nn.Linear(4, 2)), floats(5)),
    "ReLU in place": (
        lambda: nn.Sequential(
            nn.Linear(5, 4), nn.ReLU(inplace=True), nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2)
        ),
        floats(5),
    ),
}


@pytest.mark.parametrize("what", NETS)
def test_any_net_equals_a_loop_over_single_samples(what: str) -> None:
    make, x = NETS[what]
    torch.manual_seed(0)
    net = make()
    net(x)  # gives lazy layers their size
    found = squared_gradients(net, squared_output, (x,))
    assert relative_error(found, one_by_one(net, squared_output, (x,))) < CLOSE
    assert not any(value.requires_grad for value in found.values())


class Aside(nn.Module):
    """A layer that runs for nothing, and one that never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.ignored, self.idle = nn.Linear(5, 2), nn.Linear(5, 2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.ignored(x)
        return self.used(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("layer", ["ignored", "idle"])
def test_parameters_that_the_loss_does_not_reach_are_zero(layer: str) -> None:
    found = squared_gradients(Aside(), squared_output, (floats(5),))
    assert not found[f"{layer}.weight"].any()
    assert not found[f"{layer}.bias"].any()


def test_a_loss_that_reaches_nothing_gives_zeros() -> None:
    def constant(model: nn.Module, x: Tensor) -> Tensor:
        model(x)
        return x.sum(dim=1)

    found = squared_gradients(nn.Linear(5, 2), constant, (floats(5),))
    assert not any(value.any() for value in found.values())


class TestOverBatches:
    def test_it_is_the_mean_over_samples(self, cvae: CVAE) -> None:
        batch = cvae_batch(6)
        mean, count = fisher_diagonal(cvae, elbo_loss, [batch])
        expected = {name: v / 6 for name, v in one_by_one(cvae, elbo_loss, batch).items()}
        assert count == 6
        assert relative_error(mean, expected) < CLOSE

    def test_unequal_batches_weigh_by_their_samples(self, cvae: CVAE) -> None:
        batch = cvae_batch(7)
        parts = [tuple(x[:5] for x in batch), tuple(x[5:] for x in batch)]
        whole, _ = fisher_diagonal(cvae, elbo_loss, [batch])
        assert relative_error(fisher_diagonal(cvae, elbo_loss, parts)[0], whole) < CLOSE

    def test_no_batch_at_all_gives_zeros_and_no_nan(self, cvae: CVAE) -> None:
        diagonal, count = fisher_diagonal(cvae, elbo_loss, [])
        assert count == 0
        assert not any(value.any() for value in diagonal.values())


class TestOfAGeneratorOverItsOwnSamples:
    @pytest.mark.parametrize("chunk", [7, 20, 500])
    def test_samples_are_as_many_as_asked_for(self, cvae: CVAE, chunk: int) -> None:
        seen: list[int] = []
        generator_fisher(
            cvae,
            FisherSettings(samples=20, labels=ALL),
            seeded(),
            chunk=chunk,
            report=lambda step, _: seen.append(step),
        )
        assert seen[-1] == 20

    def test_the_same_seed_gives_equal_tensors(self, cvae: CVAE) -> None:
        settings = FisherSettings(samples=30, labels=ALL)
        a, b = (generator_fisher(cvae, settings, seeded(5)) for _ in range(2))
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_only_the_given_labels_are_drawn(self, cvae: CVAE) -> None:
        diagonal = generator_fisher(cvae, FisherSettings(samples=40, labels=(3, 7)), seeded())
        # Columns 8 to 17 of the decoder's first layer are the one-hot condition: a class never drawn has no gradient.
        reached = diagonal["decoder.0.weight"][:, 8:].sum(dim=0) > 0
        assert reached.nonzero().flatten().tolist() == [3, 7]

    def test_labels_are_uniform(self, cvae: CVAE, monkeypatch: pytest.MonkeyPatch) -> None:
        drawn: list[Tensor] = []

        def watched(z: Tensor, labels: Tensor) -> Tensor:
            drawn.append(labels)
            return torch.sigmoid(torch.zeros(len(z), 784))

        monkeypatch.setattr(cvae, "sample", watched)
        generator_fisher(cvae, FisherSettings(samples=1000, labels=(2, 5)), seeded())
        counts = torch.cat(drawn).bincount(minlength=10)
        assert counts[[2, 5]].sum() == 1000
        assert abs(int(counts[2]) - 500) < 80


class TestCombining:
    def parts(self) -> Iterator[Diagonal]:
        yield {"a": torch.tensor([1.0, 2.0])}
        yield {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([5.0])}

    def test_it_adds_element_by_element(self) -> None:
        total = combine(self.parts())
        assert {name: value.tolist() for name, value in total.items()} == {"a": [4.0, 6.0], "b": [5.0]}

    def test_the_parts_are_left_as_they_were(self) -> None:
        parts = list(self.parts())
        combine(parts)["b"].add_(1)
        combine(parts)["a"].add_(1)
        assert [p["a"].tolist() for p in parts] == [[1.0, 2.0], [3.0, 4.0]]
