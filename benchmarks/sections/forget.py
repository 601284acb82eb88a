"""(c) Forgetting one class: time to full forgetting at equal retention."""

from __future__ import annotations

import torch

from benchmarks import reference
from benchmarks.bench import FORGOTTEN, LABELS, Bench, forget_settings, say
from benchmarks.clock import Contender, PausedClock, Times, alternate
from benchmarks.results import Row, Section, at_least, at_most, timed
from sa_mlops.core.fisher import Diagonal, generator_fisher
from sa_mlops.core.measuring import Evaluation
from sa_mlops.methods.selective_amnesia import training as amnesia
from sa_mlops.models.interface import CVAE
from sa_mlops.settings import FisherSettings

ENTROPY = 2.29
"""Mean entropy of the judge on the forgotten class, nats, from which it counts as forgotten (at most 2.3026)."""
HARM = 0.005
"""How far below the base's the retained accuracy may lie."""
REFERENCE_CHECKPOINT = 250
NOTE = (
    f"Forgotten: the calibrated judge's mean entropy on class {FORGOTTEN} is at least {ENTROPY} nats (2.3026 is the "
    f"largest possible), with the retained accuracy at most {HARM} below the base's. Time to score is not counted."
)


class Trace:
    """Time at which a loop has forgotten the class and retained the others; the clock stops while it is scored.

    Parameters
    ----------
    retained : accuracy of the base on the retained classes.
    every : steps between scores.
    last : the loop's last step.
    """

    def __init__(self, bench: Bench, retained: float, every: int, last: int) -> None:
        self.bench, self.retained, self.every, self.last = bench, retained, every, last
        self.reached: float | None = None
        self.seconds = 0.0
        _ = bench.evaluator
        self.clock = PausedClock(bench.device)

    def __call__(self, step: int, model: CVAE) -> None:
        """Score a step if it is due."""
        if step == self.last or (step % self.every == 0 and self.reached is None):
            self.seconds = self.clock.pause()
            if self.reached is None and self._forgotten(model):
                self.reached = self.seconds
            self.clock.go_on()

    def _forgotten(self, model: CVAE) -> bool:
        drawn = self.bench.evaluator.draw(model)
        scores = drawn.log_probs.exp()
        role = drawn.labels == FORGOTTEN
        entropy = -(scores * drawn.log_probs).sum(dim=1)[role].mean()
        correct = (drawn.log_probs.argmax(dim=1) == drawn.labels)[~role].float().mean()
        return bool(entropy >= ENTROPY) and bool(correct >= self.retained - HARM)


def run(bench: Bench) -> Section:
    """Time whole runs of ours in turn with steps of the reference; in full mode also the whole reference, scored."""
    budget, device = bench.budget, bench.device
    base = bench.base
    say("Fisher diagonal of the base")
    samples = FisherSettings(samples=budget.fisher_samples, labels=LABELS)
    fisher = generator_fisher(base, samples, bench.generator("fim"))
    settings = forget_settings(bench.forget_optimisation)
    made: list[CVAE] = []

    def ours() -> None:
        made.append(amnesia.forget(base, fisher, settings, bench.generator("forget", len(made))))

    steps = settings.optimisation.steps
    times = alternate(
        {
            "ours": Contender(ours),
            "reference": Contender(
                lambda: reference.forget(base, fisher, FORGOTTEN, budget.reference_steps),
                budget.reference_steps,
            ),
        },
        budget.repeats,
        device,
    )
    whole = times["reference"].scaled(reference.FORGET_STEPS)
    quotients = Times(tuple(r / o for r, o in zip(whole.seconds, times["ours"].seconds, strict=True)))
    short = "" if budget.forget_steps is None else f"{steps} steps only in this mode"
    rows = [
        timed(
            "reference / ours, whole recipes", quotients, "×", None if short else at_least(30),
            short or f"the reference extrapolated from {budget.reference_steps} steps a repeat",
        ),
        timed(f"ours, {steps} steps", times["ours"], "s", None if short else at_most(10)),
        timed(
            f"reference, {reference.FORGET_STEPS:,} steps", whole,
            note=f"extrapolated from {budget.reference_steps} steps a repeat",
        ),
    ]  # fmt: skip
    notes: list[str] = []
    if budget.paper:
        scored, table = _scored(bench, base, fisher, made[-1])
        rows = [scored[0], *rows, *scored[1:]]
        notes = [NOTE, table]
    return Section("c", "Forgetting", rows, notes)


def _scored(bench: Bench, base: CVAE, fisher: Diagonal, ours: CVAE) -> tuple[list[Row], str]:
    """Time to full forgetting of both, and a table of their scores at their ends."""
    before = bench.evaluator.evaluate(base, (FORGOTTEN,))
    settings = forget_settings(bench.forget_optimisation)
    retained = before.retained.accuracy
    say("ours, scored along the way")
    mine = Trace(bench, retained, max(1, bench.budget.checkpoint // 4), settings.optimisation.steps)
    amnesia.forget(base, fisher, settings, bench.generator("forget", "scored"), on_step=mine)
    say(f"the reference, {reference.FORGET_STEPS:,} steps, scored along the way")
    theirs = Trace(bench, retained, REFERENCE_CHECKPOINT, reference.FORGET_STEPS)
    torch.manual_seed(0)
    paper = reference.forget(base, fisher, FORGOTTEN, reference.FORGET_STEPS, on_step=theirs)
    quotient = None if mine.reached is None or theirs.reached is None else theirs.reached / mine.reached
    why = "" if theirs.reached is not None else "the reference never gets there"
    rows = [
        Row(
            "reference / ours, time to full forgetting at equal retention", quotient, "×", at_least(30),
            note=why if mine.reached is not None else "ours never gets there",
        ),
        Row("ours to full forgetting", mine.reached, "s"),
        Row("reference to full forgetting", theirs.reached, "s", note=why),
        Row(f"reference, {reference.FORGET_STEPS:,} steps, run to its end", theirs.seconds, "s"),
    ]  # fmt: skip
    scores = {
        "base": before,
        "ours": bench.evaluator.evaluate(ours, (FORGOTTEN,)),
        "reference": bench.evaluator.evaluate(paper, (FORGOTTEN,)),
    }
    return rows, _table(scores)


def _table(scores: dict[str, Evaluation]) -> str:
    lines = [
        f"| | probability of {FORGOTTEN} | entropy | retained accuracy | worst class | retained FID |",
        "|---|---|---|---|---|---|",
    ]
    for name, e in scores.items():
        f, r = e.forgotten, e.retained
        assert f is not None
        values = f.probability, f.entropy, r.accuracy, r.accuracy_min
        lines.append(f"| {name} | {' | '.join(f'{v:.4f}' for v in values)} | {r.fid:.3f} |")
    return "\n".join(lines)
