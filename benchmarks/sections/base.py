"""(b) The base: time to the reference's nELBO at 30,000 steps, and to its end."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks import reference
from benchmarks.bench import Bench, base_settings, say
from benchmarks.clock import Contender, PausedClock, Times, alternate, ratio
from benchmarks.results import Row, Section, Target, at_least, at_most, timed
from sa_mlops.core.elbo import negative_elbo
from sa_mlops.core.runtime import make_generator
from sa_mlops.core.training import train_generator
from sa_mlops.models.interface import CVAE
from sa_mlops.settings import BASE_OPTIMISATION

LEVEL = 100.2
"""nELBO on the test images that the reference reports at 30,000 steps."""

NOTE = (
    "The reference loop: Adam at 1e-4, batches of 256, torchvision's MNIST with ToTensor through a DataLoader "
    "without workers. Its length is steps times seconds per step, measured in turn with ours; what slows "
    "a long run down (denormal moments) is not in it. Time to score ours along the way is not counted."
)


@dataclass(frozen=True, slots=True)
class Training:
    """One whole training of ours: test nELBO against seconds, the clock standing still while it was scored."""

    steps: tuple[int, ...]
    seconds: tuple[float, ...]
    nelbo: tuple[float, ...]

    def reaches(self, level: float) -> float | None:
        """Seconds until the nELBO is at most `level`; None if it never is."""
        return next((s for s, v in zip(self.seconds, self.nelbo, strict=True) if v <= level), None)


def run(bench: Bench) -> Section:
    """Train ours to its end, beside timed steps of the reference loop."""
    budget, device = bench.budget, bench.device
    d = bench.dataset
    paper = _paper(bench) if budget.paper else None
    images = reference.per_image_dataset(d)
    trainings: list[Training] = []

    def ours() -> None:
        trainings.append(_train(bench, len(trainings)))
        say(f"base: {trainings[-1].seconds[-1]:.0f} s, {trainings[-1].nelbo[-1]:.2f} nats")

    reference.train_base(images, 2, device)
    steps = bench.base_optimisation.steps
    times = alternate(
        {
            "ours": Contender(ours, steps),
            "reference": Contender(
                lambda: reference.train_base(images, budget.reference_steps, device), budget.reference_steps
            ),
        },
        budget.long_repeats,
        device,
        warm_up=False,
    )
    whole = Times(tuple(t.seconds[-1] for t in trainings))
    step = times["reference"]
    to_level = step.scaled(reference.BASE_STEPS_TO_100_2)
    to_end = step.scaled(reference.BASE_STEPS)
    level = _reached(trainings, LEVEL)
    end = None if paper is None else _reached(trainings, paper[1])
    how = f"extrapolated from {budget.reference_steps} steps a repeat"
    short = "" if budget.base_steps is None else f"{steps} steps only in this mode"
    rows = [
        _quotient(f"reference to {LEVEL} nats / ours", to_level, level, at_least(12), short),
        _quotient("reference to its end / ours to the nELBO it has there", to_end, end, None, short),
        timed("a step of the reference / a step of ours", Times(
            tuple(r * steps / o for r, o in zip(step.seconds, whole.seconds, strict=True))), "×"),
        Row("ours, test nELBO at its end", trainings[-1].nelbo[-1], "nats",
            at_most(97.0) if not short else None, tuple(t.nelbo[-1] for t in trainings), short),
        timed(f"ours, whole recipe ({steps:,} steps)", whole, "s", at_most(90) if not short else None),
        _maybe(f"ours to {LEVEL} nats", level, short),
        timed(f"reference, {reference.BASE_STEPS_TO_100_2:,} steps ({LEVEL} nats, as reported)", to_level, note=how),
        timed(f"reference, {reference.BASE_STEPS:,} steps", to_end, note=how),
    ]  # fmt: skip
    if paper is not None:
        same = "trained by our loop: the same mathematics"
        rows += [
            Row(
                f"paper recipe, test nELBO at {reference.BASE_STEPS_TO_100_2:,} steps",
                paper[0],
                "nats",
                note=same,
            ),
            Row(f"paper recipe, test nELBO at {reference.BASE_STEPS:,} steps", paper[1], "nats", note=same),
            _maybe("ours to the paper recipe's last nELBO", end, ""),
        ]
    return Section("b", "Base", rows, [NOTE])


def _train(bench: Bench, repeat: int) -> Training:
    d = bench.dataset
    every = bench.budget.checkpoint or bench.base_optimisation.steps
    steps: list[int] = []
    seconds: list[float] = []
    nelbo: list[float] = []
    clock = PausedClock(bench.device)

    def score(step: int, model: CVAE) -> None:
        if step % every == 0 or step == bench.base_optimisation.steps:
            seconds.append(clock.pause())
            steps.append(step)
            nelbo.append(test_nelbo(bench, model))
            clock.go_on()

    bench.base = train_generator(
        d.train_images,
        d.train_labels,
        d.spec,
        base_settings(bench.base_optimisation),
        bench.generator("base", repeat),
        on_step=score,
    )
    return Training(tuple(steps), tuple(seconds), tuple(nelbo))


def _paper(bench: Bench) -> tuple[float, float]:
    """Test nELBO of the paper recipe at 30,000 steps and at its end."""
    say(f"training the paper recipe's base, {reference.BASE_STEPS:,} steps")
    found: list[float] = []

    def score(step: int, model: CVAE) -> None:
        if step in (reference.BASE_STEPS_TO_100_2, reference.BASE_STEPS):
            found.append(test_nelbo(bench, model))

    d = bench.dataset
    settings = base_settings(BASE_OPTIMISATION["paper"])
    train_generator(d.train_images, d.train_labels, d.spec, settings, bench.generator("paper"), on_step=score)
    return found[0], found[1]


@torch.no_grad()
def test_nelbo(bench: Bench, model: CVAE) -> float:
    """NELBO of the test images in nats per image, at the same noise for every model."""
    d = bench.dataset
    generator = make_generator(bench.device, 0, "test nelbo")
    noise = torch.randn(len(d.test_images), model.z_dim, generator=generator, device=bench.device)
    return float(negative_elbo(model, d.test_images[:], d.test_labels, noise).total.double().mean())


def _reached(trainings: list[Training], level: float) -> Times | None:
    found = [t.reaches(level) for t in trainings]
    seconds = tuple(s for s in found if s is not None)
    return Times(seconds) if len(seconds) == len(found) else None


def _quotient(what: str, above: Times, below: Times | None, target: Target | None, note: str) -> Row:
    if below is None:
        return Row(what, None, "×", target, note=note or "not reached")
    return timed(what, ratio(above, below), "×", target, note)


def _maybe(what: str, times: Times | None, note: str) -> Row:
    return (
        Row(what, None, "s", note=note or "not reached") if times is None else timed(what, times, note=note)
    )
