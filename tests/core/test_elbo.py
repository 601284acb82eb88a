"""The ELBO on values in closed form, and where floats end."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import Linear
from torch.nn import functional as F

from sa_mlops.core.elbo import NegativeElbo, negative_elbo, pixel_cross_entropy
from sa_mlops.datasets.mnist import SPEC
from sa_mlops.models.interface import LOG_VAR_RANGE
from sa_mlops.models.mlp import MLP


class Fixed(MLP):
    """A net whose encoder answers `mean` and `log_var` and whose decoder answers logits 0 and keeps its latent."""

    def __init__(self, mean: Tensor, log_var: Tensor) -> None:
        super().__init__(SPEC, mean.shape[1])
        self.posterior = mean, log_var
        self.latent = torch.empty(0)

    def encode(self, images: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        return self.posterior

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        self.latent = z
        return torch.zeros(len(z), 784)


def fixed_elbo(mean: list[float], log_var: list[float], noise: list[float]) -> tuple[NegativeElbo, Tensor]:
    net = Fixed(torch.tensor([mean]), torch.tensor([log_var]))
    terms = negative_elbo(net, torch.zeros(1, 1, 28, 28), torch.tensor([0]), torch.tensor([noise]))
    return terms, net.latent


class TestReconstruction:
    @pytest.mark.parametrize("logit", [-20.0, -0.3, 0.0, 0.3, 20.0])
    def test_value_and_gradient_are_those_of_torch(self, logit: float) -> None:
        logits = torch.full((2, 1, 28, 28), logit, requires_grad=True)
        images = torch.rand(2, 1, 28, 28)
        ours = pixel_cross_entropy(logits, images)
        torchs = F.binary_cross_entropy_with_logits(logits, images, reduction="none").sum(dim=(1, 2, 3))
        torch.testing.assert_close(ours, torchs)
        torch.testing.assert_close(*(torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, torchs)))

    @pytest.mark.parametrize("logit", [-1e4, 1e4])
    @pytest.mark.parametrize("pixel", [0.0, 1.0])
    def test_saturated_pixels_stay_finite(self, logit: float, pixel: float) -> None:
        value = pixel_cross_entropy(torch.full((1, 1, 28, 28), logit), torch.full((1, 1, 28, 28), pixel))
        assert bool(value.isfinite().all())

    @pytest.mark.parametrize("logit", [-1e4, 1e4])
    def test_saturated_pixels_have_finite_gradients(self, logit: float) -> None:
        logits = torch.full((1, 1, 28, 28), logit, requires_grad=True)
        pixel_cross_entropy(logits, torch.full((1, 1, 28, 28), 0.5)).sum().backward()
        assert logits.grad is not None
        assert bool(logits.grad.isfinite().all())


class TestDivergence:
    def test_it_agrees_with_torch_distributions(self) -> None:
        mean, log_var = torch.randn(2, 4), torch.randn(2, 4)
        net = Fixed(mean, log_var)
        terms = negative_elbo(net, torch.zeros(2, 1, 28, 28), torch.tensor([0, 1]), torch.zeros(2, 4))
        posterior = torch.distributions.Normal(mean, (0.5 * log_var).exp())
        expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(
            dim=1
        )
        torch.testing.assert_close(terms.divergence, expected)


class TestBound:
    def test_the_draw_is_the_mean_plus_the_scaled_noise(self) -> None:
        _, latent = fixed_elbo([1.0, -2.0], [math.log(4), 0.0], [0.5, 3.0])
        torch.testing.assert_close(latent, torch.tensor([[2.0, 1.0]]))

    def test_samples_do_not_interact(self) -> None:
        torch.manual_seed(0)
        net = MLP(SPEC, 2)
        images, labels, noise = torch.rand(3, 1, 28, 28), torch.tensor([1, 5, 9]), torch.randn(3, 2)
        alone = negative_elbo(net, images[1:2], labels[1:2], noise[1:2]).total
        torch.testing.assert_close(negative_elbo(net, images, labels, noise).total[1:2], alone)

    def test_the_label_matters(self) -> None:
        torch.manual_seed(0)
        net, image, noise = MLP(SPEC, 2), torch.rand(1, 1, 28, 28), torch.zeros(1, 2)
        a, b = (negative_elbo(net, image, torch.tensor([c]), noise).total for c in (1, 2))
        assert not torch.equal(a, b)

    @pytest.mark.parametrize("extreme", [-1e6, 1e6])
    def test_a_net_that_answers_extremes_gives_finite_terms(self, extreme: float) -> None:
        net = MLP(SPEC, 2)
        with torch.no_grad():
            posterior, pixels = cast(Linear, net.encoder[-1]), cast(Linear, net.decoder[-1])
            for part in (posterior, pixels):
                part.weight.zero_()
            posterior.bias.copy_(torch.tensor([0.0, 0.0, extreme, extreme]))
            pixels.bias.fill_(extreme)
        terms = negative_elbo(net, torch.rand(2, 1, 28, 28), torch.tensor([0, 1]), torch.randn(2, 2))
        assert bool(torch.stack(list(terms)).isfinite().all())

    def test_the_bound_on_the_log_variance_keeps_its_exponential_in_range(self) -> None:
        low, high = torch.tensor(LOG_VAR_RANGE).exp().tolist()
        assert low > torch.finfo(torch.float32).tiny
        assert high < torch.finfo(torch.float32).max
