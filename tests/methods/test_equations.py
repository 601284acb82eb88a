"""The defining equation of each method, beside a computation by hand of its first step on a small net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import one_hot

from sa_mlops.config import ForgetConfig
from sa_mlops.core.fisher import generator_fisher
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.datasets.spec import Dataset
from sa_mlops.methods import interface
from sa_mlops.methods.distillation import DistilSettings
from sa_mlops.methods.distillation.training import distil, searched
from sa_mlops.methods.interface import Inputs, Request
from sa_mlops.methods.salun import BATCHES
from sa_mlops.methods.ssd import SAMPLES
from sa_mlops.models.interface import CVAE, make_net
from sa_mlops.settings import FisherSettings, Optimisation

N, K, Z, FORGET = 4, 10, 2, 1
RETAINED = [c for c in range(K) if c != FORGET]
IMAGES = torch.rand(40, *SPEC.shape, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(40) % K


@pytest.fixture(scope="module")
def start() -> CVAE:
    torch.manual_seed(0)
    net = make_net("mlp", SPEC, Z).requires_grad_(False)
    for weights in net.parameters():
        # So that labels differ and saturated pixels are rare.
        weights.mul_(2)
    return net


def stepped(method: str, start: CVAE, fisher: Mapping[str, Tensor] = {}, **options: Any) -> Any:
    """The net after one step of a method, and the terms that it reported."""
    small = {"steps": 1, "batch_size": N} if "steps" in interface.named(method).options() else {}
    settings = ForgetConfig(method=method, classes=("1",), **small | options).resolved((), None)
    terms: dict[str, float] = {}
    request = Request(
        start=start, settings=settings, generator=seeded(), on_step=None,
        inputs=Inputs(fisher=fisher, data=Dataset(SPEC, "", IMAGES, LABELS, IMAGES, LABELS)),
        report=lambda _, found: terms.update({k: float(v) for k, v in found.items()}),
    )  # fmt: skip
    return interface.named(method).run(request), terms


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def latents(g: torch.Generator) -> Tensor:
    return torch.randn(N, Z, generator=g)


def labels(g: torch.Generator, classes: list[int]) -> Tensor:
    return torch.tensor(classes)[torch.randint(len(classes), (N,), generator=g)]


def logits(net: CVAE, z: Tensor, classes: Tensor) -> Tensor:
    return net.decode(z, one_hot(classes, K).float())


def cross_entropy(found: Tensor, target: Tensor) -> Tensor:
    p = found.double().sigmoid()
    each = -(target * p.log() + (1 - target) * (1 - p).log())
    return each.flatten(1).sum(dim=1)


def replayed(net: CVAE, g: torch.Generator) -> float:
    z, classes = latents(g), labels(g, RETAINED)
    found = logits(net, z, classes)
    return float(cross_entropy(found, found.sigmoid()).mean())


def elbo(net: CVAE, g: torch.Generator, classes: list[int]) -> Tensor:
    """Negative ELBO of a batch of real images, (N,)."""
    rows = torch.tensor([i for i, c in enumerate(LABELS.tolist()) if c in classes])
    rows = rows[torch.randint(len(rows), (N,), generator=g)]
    noise, images = latents(g), IMAGES[rows]
    condition = one_hot(LABELS[rows], K).float()
    mean, log_variance = net.encode(images, condition)
    z = mean + noise * (log_variance / 2).exp()
    prior, posterior = Normal(torch.zeros(Z), torch.ones(Z)), Normal(mean, (log_variance / 2).exp())
    return cross_entropy(net.decode(z, condition), images) + kl_divergence(posterior, prior).sum(dim=1)


def nearest(net: CVAE, g: torch.Generator) -> int:
    z = torch.randn(1_000, Z, generator=g)
    drawn = [logits(net, z, torch.full((1_000,), c)).sigmoid() for c in range(K)]
    return min(RETAINED, key=lambda c: float((drawn[c] - drawn[FORGET]).square().mean()))


def towards(net: CVAE, z: Tensor, images: Tensor) -> float:
    return float(cross_entropy(logits(net, z, torch.full((N,), FORGET)), images).mean())


def random_label(net: CVAE, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Latents and target images."""
    z, others = latents(g), labels(g, RETAINED)
    labels(g, [FORGET])
    return z, logits(net, z, others).sigmoid()


def test_esd_is_guided_from_the_unconditional_image_away_from_the_class(start: CVAE) -> None:
    _, terms = stepped("esd", start, guidance=1.5, retain_weight=3.0)
    g = seeded()
    z, _ = latents(g), labels(g, [FORGET])
    free = start.decode(z, torch.full((N, K), 0.1))
    target = 2.5 * free - 1.5 * logits(start, z, torch.full((N,), FORGET))
    expected = {"forget": towards(start, z, target.sigmoid()), "retain": 3 * replayed(start, g)}
    assert terms == pytest.approx(expected, rel=1e-4)


def test_ablation_teaches_the_images_of_the_nearest_retained_label(start: CVAE) -> None:
    _, terms = stepped("ablation", start, retain_weight=3.0)
    g = seeded()
    anchor = nearest(start, g)
    z, _ = latents(g), labels(g, [FORGET])
    images = logits(start, z, torch.full((N,), anchor)).sigmoid()
    expected = {"forget": towards(start, z, images), "retain": 3 * replayed(start, g)}
    assert terms == pytest.approx(expected, rel=1e-4)


def test_random_label_teaches_the_images_of_random_retained_labels(start: CVAE) -> None:
    _, terms = stepped("random-label", start, retain_weight=3.0)
    g = seeded()
    expected = {"forget": towards(start, *random_label(start, g)), "retain": 3 * replayed(start, g)}
    assert terms == pytest.approx(expected, rel=1e-4)


def test_salun_changes_weights_with_a_large_gradient_of_that_term_alone(start: CVAE) -> None:
    made, _ = stepped("salun", start, saliency=0.2)
    net = make_net("mlp", SPEC, Z)
    net.load_state_dict(start.state_dict())
    g = seeded()
    for _ in range(BATCHES):
        z, images = random_label(start, g)
        cross_entropy(logits(net, z, torch.full((N,), FORGET)), images).mean().backward()
    sizes = {n: torch.zeros_like(p) if p.grad is None else p.grad.abs() for n, p in net.named_parameters()}
    flat = torch.cat([s.flatten() for s in sizes.values()])
    least = flat.sort(descending=True).values[round(0.2 * len(flat))]
    before = dict(start.named_parameters())
    moved = {n: p != before[n] for n, p in made.named_parameters()}
    assert sum(int(m.sum()) for m in moved.values()) > 0
    assert all(bool((sizes[n][m] >= 0.999 * least).all()) for n, m in moved.items())


def test_erasediff_teaches_noise_and_real_retained_images(start: CVAE) -> None:
    _, terms = stepped("erasediff", start, retain_weight=3.0)
    g = seeded()
    z, _ = latents(g), labels(g, [FORGET])
    noise = torch.rand(N, *SPEC.shape, generator=g)
    expected = {"forget": towards(start, z, noise), "retain": 3 * float(elbo(start, g, RETAINED).mean())}
    assert terms == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("ceiling", [0.1, 100.0])
def test_gradient_ascent_raises_the_loss_of_the_class_up_to_a_ceiling(start: CVAE, ceiling: float) -> None:
    _, terms = stepped("gradient-ascent", start, ceiling=ceiling, retain_weight=3.0)
    g = seeded()
    own, others = elbo(start, g, [FORGET]), elbo(start, g, RETAINED)
    expected = {"forget": -float(own.clamp(max=ceiling * 784).mean()), "retain": 3 * float(others.mean())}
    assert terms == pytest.approx(expected, rel=1e-4)


def test_finetuning_lowers_the_loss_of_retained_images(start: CVAE) -> None:
    _, terms = stepped("finetune", start)
    assert terms == pytest.approx({"retain": float(elbo(start, seeded(), RETAINED).mean())}, rel=1e-4)


@pytest.mark.parametrize("replacement", ["nearest", "mean"])
def test_redaction_replaces_the_columns_of_the_label_alone(start: CVAE, replacement: str) -> None:
    made, _ = stepped("redaction", start, replacement=replacement)
    near = nearest(start, seeded())
    sources: Callable[[Tensor], Tensor] = (
        (lambda w: w[:, near]) if replacement == "nearest" else (lambda w: w[:, RETAINED].mean(dim=1))
    )
    for before, after in zip(start.label_weights(), made.label_weights(), strict=True):
        assert torch.equal(after[:, RETAINED], before[:, RETAINED])
        torch.testing.assert_close(after[:, FORGET], sources(before))
    columns = sum(w.shape[0] for w in start.label_weights())
    pairs = zip(start.parameters(), made.parameters(), strict=True)
    assert sum(int((a != b).sum()) for a, b in pairs) <= columns


def test_ssd_shrinks_the_weights_that_it_selects_and_no_others(start: CVAE) -> None:
    own = generator_fisher(start, FisherSettings(samples=SAMPLES, labels=(FORGET,)), seeded())
    torch.manual_seed(0)
    fisher = {n: value * (2 * torch.rand_like(value)) for n, value in own.items()}
    made, _ = stepped("ssd", start, fisher, selection=0.2, dampening=2.5)
    shrunk = untouched = 0
    for (name, before), after in zip(start.named_parameters(), made.parameters(), strict=True):
        f, c = fisher[name].flatten().tolist(), own[name].flatten().tolist()
        factor = torch.tensor(
            [min(2.5 * a / b, 1.0) if b > 2 * a else 1.0 for a, b in zip(f, c, strict=True)]
        )
        torch.testing.assert_close(after.flatten(), before.flatten() * factor)
        assert torch.equal(after.flatten()[factor == 1], before.flatten()[factor == 1])
        shrunk, untouched = shrunk + int((factor < 1).sum()), untouched + int((factor == 1).sum())
    assert min(shrunk, untouched) > 1_000


def test_distillation_teaches_images_and_posteriors_to_a_net_with_a_share_of_new_weights(start: CVAE) -> None:
    terms: dict[str, float] = {}
    optimisation = Optimisation(steps=1, lr=1e-3, batch_size=N, schedule="constant")
    settings = DistilSettings(optimisation=optimisation, noise=0.25, places=8)
    distil(
        start,
        settings,
        seeded(),
        report=lambda _, found: terms.update({k: float(v) for k, v in found.items()}),
    )
    g = seeded()
    torch.manual_seed(g.initial_seed())
    student = make_net("mlp", SPEC, Z).requires_grad_(False)
    for drawn, taught in zip(student.parameters(), start.parameters(), strict=True):
        drawn.mul_(0.25).add_(taught, alpha=0.75)
    z, classes = latents(g), labels(g, list(range(K)))
    images, condition = logits(start, z, classes).sigmoid(), one_hot(classes, K).float()
    places = searched(8, Z, K, g)
    shown, learned = (net.decode(*places) for net in (start, student))
    teacher, pupil = (
        Normal(mean, (log / 2).exp())
        for mean, log in (net.encode(images, condition) for net in (start, student))
    )
    assert terms == pytest.approx(
        {
            "decoder": float(cross_entropy(logits(student, z, classes), images).mean()),
            "encoder": float(kl_divergence(teacher, pupil).sum(dim=1).mean()),
            "places": float(cross_entropy(learned, shown.sigmoid()).mean()),
        },
        rel=1e-4,
    )


def test_every_method_has_a_test_of_its_equation() -> None:
    here = {
        "esd", "ablation", "random-label", "salun", "erasediff", "gradient-ascent", "finetune", "redaction", "ssd",
    }  # fmt: skip
    assert here | {"selective-amnesia", "retrain"} == set(interface.known())
