"""Selective Amnesia: the penalty by hand, what replay draws, how gradients combine, and what forgetting does."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from draws import Recorder, seeded
from torch import Tensor, nn

from sa_mlops.core.fisher import Diagonal
from sa_mlops.core.training import NotFiniteError
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.methods.selective_amnesia import ForgetSettings
from sa_mlops.methods.selective_amnesia.training import (
    Anchor,
    Replay,
    Surrogate,
    draw_batch,
    draw_surrogate,
    forget,
    objective,
    project,
    update_direction,
)
from sa_mlops.models.interface import CVAE, one_hot
from sa_mlops.models.mlp import MLP
from sa_mlops.settings import Optimisation

SETTINGS = ForgetSettings(
    forget=(1,),
    earlier=(),
    optimisation=Optimisation(steps=3, lr=1e-3, batch_size=16, schedule="constant"),
    ewc_lambda=10.0,
    replay_ratio=1.0,
    decoder_terms=True,
    surrogate="noise",
    surrogate_md5=None,
    update="standard",
    reteach=0.0,
    harden=None,
)
LARGE = replace(SETTINGS, optimisation=replace(SETTINGS.optimisation, batch_size=2000))


@pytest.fixture(scope="module")
def net() -> CVAE:
    torch.manual_seed(0)
    return MLP(SPEC, 2)


def fisher_of(net: nn.Module, value: float = 1.0) -> Diagonal:
    return {name: torch.full_like(p, value).detach() for name, p in net.named_parameters()}


def linear(weight: list[float], bias: float) -> nn.Linear:
    layer = nn.Linear(len(weight), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weight]))
        layer.bias.fill_(bias)
    return layer


def penalty(model: nn.Module, anchor: nn.Module, fisher: Diagonal) -> float:
    value, _ = Anchor(anchor, fisher, 1.0)(list(model.parameters()))
    return value.item()


class TestPenalty:
    def test_it_has_the_value_worked_out_by_hand_without_a_half(self) -> None:
        net, anchor = linear([1.0, 4.0], 0.5), linear([3.0, 1.0], 0.0)
        fisher = {"weight": torch.tensor([[0.5, 2.0]]), "bias": torch.tensor([8.0])}
        # 0.5 (1 - 3)^2 + 2 (4 - 1)^2 + 8 (0.5)^2
        assert penalty(net, anchor, fisher) == pytest.approx(22.0)

    def test_a_diagonal_that_lacks_a_parameter_is_refused(self) -> None:
        net = linear([1.0], 0.0)
        with pytest.raises(KeyError, match="bias"):
            Anchor(net, {"weight": torch.ones(1, 1)}, 1.0)

    def test_value_and_gradient_are_those_of_autograd(self, net: CVAE) -> None:
        fisher, moved = fisher_of(net), copy.deepcopy(net)
        with torch.no_grad():
            for p in moved.parameters():
                p.add_(torch.randn(p.shape, generator=seeded()))
        parameters, start = dict(moved.named_parameters()), dict(net.named_parameters())
        expected = (
            3.0
            * torch.stack([(fisher[k] * (p - start[k]).square()).sum() for k, p in parameters.items()]).sum()
        )
        value, pull = Anchor(net, fisher, 3.0)(list(parameters.values()))
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
        torch.testing.assert_close(pull, torch.autograd.grad(expected, list(parameters.values())))

    def test_a_large_lambda_holds_parameters_in_place(self, net: CVAE) -> None:
        moved = []
        for weight in (0.0, 1e6):
            settings = replace(
                SETTINGS, ewc_lambda=weight, optimisation=replace(SETTINGS.optimisation, steps=30)
            )
            after = forget(net, fisher_of(net), settings, seeded())
            moved.append(penalty(after, net, fisher_of(net)))
        assert moved[1] < 0.1 * moved[0]


class TestSurrogate:
    def test_noise_is_uniform(self) -> None:
        images = draw_surrogate("noise", 200, SPEC.shape, seeded())
        assert images.mean().item() == pytest.approx(0.5, abs=0.01)
        assert images.var().item() == pytest.approx(1 / 12, abs=0.002)

    def test_grey_is_half_everywhere(self) -> None:
        assert torch.equal(draw_surrogate("grey", 3, SPEC.shape, seeded()), torch.full((3, 1, 28, 28), 0.5))

    def test_given_images_are_drawn_whole(self) -> None:
        pool = torch.rand(4, 1, 28, 28)
        drawn = draw_surrogate("images", 50, SPEC.shape, seeded(), pool)
        assert all(any(torch.equal(row, image) for image in pool) for row in drawn)

    def test_every_given_image_is_drawn_in_time(self) -> None:
        pool = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 1, 28, 28)
        assert draw_surrogate("images", 100, SPEC.shape, seeded(), pool)[:, 0, 0, 0].unique().tolist() == [
            0,
            1,
            2,
            3,
        ]

    @pytest.mark.parametrize(
        ("kind", "images"),
        [("images", None), ("images", torch.empty(0, 1, 28, 28)), ("black", None)],
        ids=["no images", "empty images", "unknown kind"],
    )
    def test_a_surrogate_that_cannot_be_drawn_is_refused(self, kind: str, images: Tensor | None) -> None:
        with pytest.raises(ValueError, match=f"no surrogate images for '{kind}'"):
            draw_surrogate(kind, 2, SPEC.shape, seeded(), images)


class TestBatch:
    def test_replay_never_draws_a_class_that_is_forgotten_or_being_forgotten(self, net: CVAE) -> None:
        settings = replace(LARGE, forget=(3, 8), earlier=(0, 5), reteach=0.25)
        _, replay = draw_batch(net, settings, seeded(), None)
        assert replay.labels.unique().tolist() == [1, 2, 4, 6, 7, 9]

    def test_replay_draws_retained_classes_uniformly(self, net: CVAE) -> None:
        _, replay = draw_batch(net, LARGE, seeded(), None)
        counts = replay.labels.bincount(minlength=10).tolist()
        assert all(150 < n < 300 for c, n in enumerate(counts) if c != 1)

    def test_surrogate_labels_are_the_classes_to_forget(self, net: CVAE) -> None:
        surrogate, _ = draw_batch(net, replace(LARGE, forget=(3, 8)), seeded(), None)
        assert surrogate.labels.unique().tolist() == [3, 8]

    def test_earlier_classes_are_taught_again_with_their_share(self, net: CVAE) -> None:
        surrogate, _ = draw_batch(net, replace(LARGE, earlier=(0, 5), reteach=0.25), seeded(), None)
        again = torch.isin(surrogate.labels, torch.tensor([0, 5]))
        assert again.float().mean().item() == pytest.approx(0.25, abs=0.04)

    def test_without_a_share_earlier_classes_are_not_taught_again(self, net: CVAE) -> None:
        surrogate, _ = draw_batch(net, replace(LARGE, earlier=(0, 5), reteach=0.0), seeded(), None)
        assert surrogate.labels.unique().tolist() == [1]

    @pytest.mark.parametrize(("ratio", "count"), [(1.0, 16), (2.5, 40), (0.25, 4), (0.001, 1)])
    def test_the_ratio_decides_how_much_is_replayed(self, net: CVAE, ratio: float, count: int) -> None:
        _, replay = draw_batch(net, replace(SETTINGS, replay_ratio=ratio), seeded(), None)
        assert len(replay.labels) == len(replay.images) == len(replay.z) == count

    def test_replayed_images_are_the_frozen_net_s(self, net: CVAE) -> None:
        _, replay = draw_batch(net, SETTINGS, seeded(), None)
        torch.testing.assert_close(replay.images, net.sample(replay.z, replay.labels))


class TestObjective:
    def parts(self, net: CVAE) -> tuple[Surrogate, Replay]:
        return draw_batch(net, SETTINGS, seeded(), None)

    def test_terms_are_sums_over_their_samples(self, net: CVAE) -> None:
        surrogate, replay = self.parts(net)
        doubled = (type(p)(*(torch.cat([x, x]) for x in p)) for p in (surrogate, replay))
        settings = replace(SETTINGS, decoder_terms=False)
        once = objective(net, surrogate, replay, settings, seeded())[0]
        twice = objective(net, *doubled, settings, seeded())[0]
        # An untrained net's loss hardly depends on the noise, which differs between the two calls.
        assert twice.item() == pytest.approx(2 * once.item(), rel=1e-2)

    def test_decoder_terms_add_the_cross_entropy_where_samples_are_drawn_from(self, net: CVAE) -> None:
        surrogate, replay = self.parts(net)
        with_terms = objective(net, surrogate, replay, SETTINGS, seeded())
        without = objective(net, surrogate, replay, replace(SETTINGS, decoder_terms=False), seeded())
        for a, b, part in zip(with_terms, without, (surrogate, replay), strict=True):
            drawn = net.decode(part.z, one_hot(part.labels, 10)).sigmoid()
            by_hand = -(part.images * drawn.log() + (1 - part.images) * (1 - drawn).log()).sum()
            assert (a - b).item() == pytest.approx(by_hand.item(), rel=1e-3)

    def test_distillation_weighs_the_decoder_term_of_replay_alone(self, net: CVAE) -> None:
        surrogate, replay = self.parts(net)
        by_weight = [
            objective(net, surrogate, replay, replace(SETTINGS, distillation=w), seeded())
            for w in (0.0, 1.0, 20.0)
        ]
        forgetting, remembering = (torch.stack(terms) for terms in zip(*by_weight, strict=True))
        assert len(forgetting.unique()) == 1
        added = (remembering - remembering[0]).detach()
        assert added[2].item() == pytest.approx(20 * added[1].item(), rel=1e-3)


def vectors(*values: list[float]) -> tuple[Tensor, ...]:
    return tuple(torch.tensor(v) for v in values)


class TestProjection:
    def test_conflicting_gradients_lose_their_part_against_each_other(self) -> None:
        (out,) = project(vectors([1.0, 0.0]), vectors([-1.0, 1.0]))
        # a - (a.b / b.b) b = (1, 0) + 1/2 (-1, 1) = (1/2, 1/2); b - (a.b / a.a) a = (-1, 1) + (1, 0) = (0, 1)
        torch.testing.assert_close(out, torch.tensor([0.5, 1.5]))

    def test_gradients_that_agree_are_added(self) -> None:
        (out,) = project(vectors([1.0, 0.0]), vectors([1.0, 1.0]))
        assert out.tolist() == [2.0, 1.0]

    def test_the_conflict_is_over_all_parameters_together(self) -> None:
        # The first tensors conflict (-1), the second ones agree (+4): together there is no conflict.
        out = project(vectors([1.0], [2.0]), vectors([-1.0], [2.0]))
        assert [t.item() for t in out] == [0.0, 4.0]

    def test_the_result_goes_against_neither_gradient(self) -> None:
        g = seeded()
        a, b = (torch.randn(50, generator=g) for _ in range(2))
        b = b - a
        (out,) = project((a,), (b,))
        assert float(out @ a) >= -1e-4
        assert float(out @ b) >= -1e-4

    def test_a_gradient_of_zero_gives_the_other_one_and_no_nan(self) -> None:
        (out,) = project(vectors([0.0, 0.0]), vectors([3.0, 4.0]))
        assert out.tolist() == [3.0, 4.0]


PULL = torch.tensor([0.0, 0.5])


class TestUpdate:
    def losses(self) -> tuple[Tensor, Tensor, list[nn.Parameter]]:
        """Gradients (1, 0) and (-1, 0.5); with the pull of the penalty the latter is (-1, 1)."""
        p = nn.Parameter(torch.zeros(2))
        return p[0], 0.5 * p[1] - p[0], [p]

    def direction(self, update: str, step: int = 1) -> list[float]:
        forgetting, remembering, parameters = self.losses()
        (gradient,) = update_direction(update, step, forgetting, remembering, (PULL,), parameters)
        return gradient.tolist()

    def test_standard_descends_the_sum(self) -> None:
        assert self.direction("standard") == [0.0, 1.0]

    def test_projected_removes_the_conflict(self) -> None:
        assert self.direction("projected") == pytest.approx([0.5, 1.5])

    @pytest.mark.parametrize(("step", "gradient"), [(1, [1.0, 0.0]), (2, [-1.0, 1.0]), (3, [1.0, 0.0])])
    def test_alternating_forgets_first_and_remembers_next(self, step: int, gradient: list[float]) -> None:
        assert self.direction("alternating", step) == gradient

    @pytest.mark.parametrize("update", ["alternating", "projected"])
    def test_a_parameter_that_one_term_does_not_reach_is_no_error(self, update: str) -> None:
        a, b = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        still = (torch.zeros(1), torch.zeros(1))
        out = update_direction(update, 1, a.sum(), b.sum(), still, [a, b])
        assert out[0].item() == 1.0

    def test_an_unknown_update_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no update 'sideways'"):
            self.direction("sideways")


class TestForgetting:
    def test_the_start_is_left_untouched(self, net: CVAE) -> None:
        before = copy.deepcopy(net.state_dict())
        forget(net, fisher_of(net), SETTINGS, seeded())
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())

    @pytest.mark.parametrize("update", ["standard", "projected", "alternating"])
    def test_the_same_seed_gives_equal_tensors(self, net: CVAE, update: str) -> None:
        settings = replace(SETTINGS, update=update)
        a, b = (forget(net, fisher_of(net), settings, seeded(3)).state_dict() for _ in range(2))
        assert all(torch.equal(a[name], b[name]) for name in a)

    def test_a_start_that_is_frozen_is_trained_all_the_same(self, net: CVAE) -> None:
        frozen = copy.deepcopy(net).requires_grad_(False)
        after = forget(frozen, fisher_of(net), SETTINGS, seeded())
        assert not torch.equal(after.decoder[0].weight, net.decoder[0].weight)

    def test_every_step_reports_its_terms(self, net: CVAE) -> None:
        recorder = Recorder()
        forget(net, fisher_of(net), SETTINGS, seeded(), report=recorder)
        assert [sorted(t) for t in recorder.terms] == [["ewc", "forget", "gradient_norm", "replay"]] * 3

    def test_terms_do_not_depend_on_the_batch_size(self, net: CVAE) -> None:
        first = []
        for size in (16, 256):
            recorder = Recorder()
            settings = replace(
                SETTINGS, optimisation=replace(SETTINGS.optimisation, batch_size=size, steps=1)
            )
            forget(net, fisher_of(net), settings, seeded(), report=recorder)
            first.append(recorder.terms[0]["forget"])
        assert first[1] == pytest.approx(first[0], rel=0.02)

    def test_the_term_that_was_first_not_finite_is_named_with_its_step(self, net: CVAE) -> None:
        # From the second step on every term is NaN.
        with pytest.raises(NotFiniteError, match="ewc is not finite at step 1"):
            forget(net, fisher_of(net, float("nan")), SETTINGS, seeded())


class TestEffect:
    """Two hundred steps on a net that draws a black image with a white square, another place for each class."""

    LATENTS = 64

    @pytest.fixture(scope="class")
    def pictures(self) -> Tensor:
        images = torch.full((10, 28, 28), 0.02)
        for c in range(10):
            row, column = divmod(c, 4)
            images[c, 2 + 8 * row : 8 + 8 * row, 2 + 6 * column : 8 + 6 * column] = 0.98
        return images.view(10, 1, 28, 28)

    @pytest.fixture(scope="class")
    def trained(self, pictures: Tensor) -> CVAE:
        torch.manual_seed(0)
        net = MLP(SPEC, 2)
        adam = torch.optim.Adam(net.parameters(), lr=2e-3)
        for _ in range(150):
            labels = torch.randint(10, (64,))
            logits = net.decode(torch.randn(64, 2), one_hot(labels, 10))
            loss = nn.functional.binary_cross_entropy_with_logits(logits, pictures[labels])
            adam.zero_grad()
            loss.backward()
            adam.step()
        return net

    @pytest.fixture(scope="class")
    def amnesiac(self, trained: CVAE) -> CVAE:
        settings = replace(
            SETTINGS,
            optimisation=Optimisation(steps=200, lr=3e-3, batch_size=32, schedule="one_cycle"),
        )
        return forget(trained, fisher_of(trained, 1e-3), settings, seeded())

    def drawn(self, net: CVAE, label: int) -> Tensor:
        z = torch.randn(self.LATENTS, 2, generator=seeded(9))
        with torch.no_grad():
            return net.sample(z, torch.full((self.LATENTS,), label))

    def test_before_the_class_is_drawn(self, trained: CVAE, pictures: Tensor) -> None:
        assert (self.drawn(trained, 1) - pictures[1]).abs().mean().item() < 0.05

    def test_the_forgotten_class_becomes_grey(self, amnesiac: CVAE) -> None:
        assert (self.drawn(amnesiac, 1) - 0.5).abs().mean().item() < 0.05

    @pytest.mark.parametrize("label", [0, 2, 7])
    def test_the_others_are_still_drawn(self, amnesiac: CVAE, pictures: Tensor, label: int) -> None:
        assert (self.drawn(amnesiac, label) - pictures[label]).abs().mean().item() < 0.05
