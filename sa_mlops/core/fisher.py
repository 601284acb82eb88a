"""The Fisher diagonal from exact per-sample gradients, at the cost of one batched backward pass.

For a Linear layer that is used once per sample, the gradient of sample i's loss is the outer product of the gradient
g_i at the layer's output and the layer's input a_i. Its square, summed over samples, is therefore (G^2)^T (A^2) for
the weight and the column sums of G^2 for the bias: an ordinary pass already computes both matrices (Goodfellow, 2015,
arXiv:1510.01799). A convolution is a Linear layer that is used once per position, on patches of its input, and its
gradient is the sum of these products over positions: one matrix product a sample, squared afterwards (Rochette et al.,
2019, arXiv:1912.06015). The squared gradient of the *batch* is a different quantity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from sa_mlops.core.elbo import negative_elbo_under
from sa_mlops.core.training import Report, silent
from sa_mlops.models.interface import CVAE, one_hot
from sa_mlops.settings import FisherSettings

PerSampleLoss = Callable[..., Tensor]
"""loss(model, *batch) -> (n,), where every tensor of the batch has n rows and rows do not interact."""

Diagonal = dict[str, Tensor]
"""Parameter name -> non-negative tensor of that parameter's shape."""


Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
"""Layers with a rule."""


def squared_gradients(model: nn.Module, loss: PerSampleLoss, batch: tuple[Tensor, ...]) -> Diagonal:
    """Sum over the batch of the squared gradients of each sample's loss.

    Linear layers and convolutions in two dimensions that run once, with one row per sample and no shared parameters,
    use the rules above; only gradients at layer outputs are computed. For every other parameter `torch.func` computes
    per-sample gradients under `vmap`. The contribution of a loss that reads such a layer's weight directly is missed.

    Returns
    -------
    Parameter name -> tensor of the parameter's shape; parameters that the loss does not reach are zero.
    """
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    owners: Counter[Tensor] = Counter(
        parameter for _, parameter in model.named_parameters(remove_duplicate=False)
    )
    layers = [
        m
        for m in model.modules()
        if _has_rule(m) and all(owners[p] == 1 for p in (m.weight, *m.parameters()))
    ]
    inputs: dict[Layer, Tensor] = {}
    outputs: dict[Layer, Tensor] = {}
    irregular: set[Layer] = set()

    def record(layer: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        assert _has_rule(layer)
        if layer in outputs or args[0].dim() != layer.weight.dim() or len(args[0]) != len(batch[0]):
            irregular.add(layer)
        inputs[layer], outputs[layer] = args[0].detach(), output
        if output.requires_grad:
            return output
        # With frozen parameters the first layer's output is a leaf, and the graph starts there. The net continues
        # with a copy, since a leaf may not be changed in place.
        return output.requires_grad_().clone()

    wanted = {parameter: parameter.requires_grad for parameter in names}
    handles: list[RemovableHandle] = [layer.register_forward_hook(record) for layer in layers]
    try:
        for parameter in names:
            parameter.requires_grad_(False)
        total = loss(model, *batch).sum()
        used = list(outputs)
        gradients = (
            torch.autograd.grad(total, [outputs[layer] for layer in used], allow_unused=True)
            if total.requires_grad
            else (None,) * len(used)
        )
    finally:
        for handle in handles:
            handle.remove()
        for parameter, flag in wanted.items():
            parameter.requires_grad_(flag)

    result = {name: torch.zeros_like(parameter) for parameter, name in names.items()}
    covered: set[str] = set()
    for layer, gradient in zip(used, gradients, strict=True):
        # An in-place operation, such as ReLU, has overwritten the layer's output.
        changed = outputs[layer]._version > 0
        if layer in irregular or changed:
            continue
        covered.add(names[layer.weight])
        if layer.bias is not None:
            covered.add(names[layer.bias])
        if gradient is not None:
            result[names[layer.weight]] = _squared_weight_gradients(layer, inputs[layer], gradient)
            if layer.bias is not None:
                positions = tuple(range(2, gradient.dim()))
                each = gradient.sum(dim=positions) if positions else gradient
                result[names[layer.bias]] = each.square().sum(dim=0)
    rest = {name: parameter for name, parameter in model.named_parameters() if name not in covered}
    if rest:
        result.update(_squared_gradients_by_vmap(model, loss, batch, rest))
    return result


def _has_rule(module: nn.Module) -> TypeGuard[Layer]:
    if type(module) is nn.Linear:
        return True
    if type(module) not in (nn.Conv2d, nn.ConvTranspose2d):
        return False
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _squared_weight_gradients(layer: Layer, inputs: Tensor, gradient: Tensor) -> Tensor:
    """Sum over samples of the squared gradients of a layer's weight.

    Parameters
    ----------
    inputs, gradient : the layer's input and the gradient at its output: (n, width), or (n, channels, H, W).
    """
    if isinstance(layer, nn.Linear):
        return gradient.square().T @ inputs.square()
    # A transposed convolution has the gradient of a convolution from its output to its input.
    patched, plain = (inputs, gradient) if isinstance(layer, nn.Conv2d) else (gradient, inputs)
    assert not isinstance(layer.padding, str)
    patches = F.unfold(patched, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    each = plain.flatten(2) @ patches.transpose(1, 2)
    return each.square_().sum(dim=0).view_as(layer.weight)


class _Loss(nn.Module):
    """The loss as a module, so that `functional_call` can swap the parameters of the model inside."""

    def __init__(self, model: nn.Module, loss: PerSampleLoss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, *batch: Tensor) -> Tensor:
        return self.loss(self.model, *batch)


def _squared_gradients_by_vmap(
    model: nn.Module, loss: PerSampleLoss, batch: tuple[Tensor, ...], parameters: dict[str, nn.Parameter]
) -> Diagonal:
    wrapped = _Loss(model, loss)
    # The places of each parameter, every module once: a tied parameter has several, and `functional_call` itself
    # does not restore a module that has two names.
    names: dict[Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    places = {
        place: names[parameter]
        for prefix, module in wrapped.named_modules()
        for place, parameter in module.named_parameters(prefix, recurse=False)
        if parameter in names
    }

    def one(values: dict[str, Tensor], *sample: Tensor) -> Tensor:
        renamed = {place: values[name] for place, name in places.items()}
        row = tuple(x.unsqueeze(0) for x in sample)
        out: Tensor = torch.func.functional_call(wrapped, renamed, row, tie_weights=False)
        return out.squeeze(0)

    values = {name: parameter.detach() for name, parameter in parameters.items()}
    in_dims = (None, *(0 for _ in batch))
    # Parameters that are not swapped still require gradients; without this the result would keep their graph.
    with torch.no_grad():
        gradients = torch.func.vmap(torch.func.grad(one), in_dims=in_dims, randomness="error")(values, *batch)
    return {name: gradient.square().sum(dim=0) for name, gradient in gradients.items()}


def fisher_diagonal(
    model: nn.Module, loss: PerSampleLoss, batches: Iterable[tuple[Tensor, ...]]
) -> tuple[Diagonal, int]:
    """Mean over all samples of the squared per-sample gradients, and the number of samples.

    Memory is bounded by one batch. Sums are float64, so that the order of batches does not matter.
    """
    total: Diagonal = {n: torch.zeros_like(p, dtype=torch.float64) for n, p in model.named_parameters()}
    count = 0
    for batch in batches:
        for name, squares in squared_gradients(model, loss, batch).items():
            total[name] += squares
        count += len(batch[0])
    return {name: (value / max(count, 1)).float() for name, value in total.items()}, count


def elbo_loss(model: CVAE, images: Tensor, condition: Tensor, noise: Tensor) -> Tensor:
    """Negative ELBO of each sample under conditions (n, K): (n,) nats."""
    return negative_elbo_under(model, images, condition, noise).total


def generator_fisher(
    model: CVAE,
    settings: FisherSettings,
    generator: torch.Generator,
    *,
    chunk: int = 500,
    report: Report = silent,
) -> Diagonal:
    """Fisher diagonal of a generator over its own samples (Selective Amnesia, arXiv:2305.10120, section 3).

    Draws z ~ N(0, I) and a label uniform over `settings.labels`, decodes the mean image, and squares the gradient of
    that image's negative ELBO with one reparameterised draw: an estimate from ELBO gradients, not the Fisher
    information of the marginal likelihood.

    Parameters
    ----------
    chunk : samples in one batch; changes which numbers are drawn.
    report : called after each batch with the number of samples so far and no terms.
    """
    device = next(model.parameters()).device
    labels = torch.tensor(settings.labels, device=device)

    def batches() -> Iterable[tuple[Tensor, Tensor, Tensor]]:
        for start in range(0, settings.samples, chunk):
            n = min(chunk, settings.samples - start)
            z = torch.randn(n, model.z_dim, generator=generator, device=device)
            c = labels[torch.randint(len(labels), (n,), generator=generator, device=device)]
            noise = torch.randn(n, model.z_dim, generator=generator, device=device)
            with torch.no_grad():
                images = model.sample(z, c)
            yield images, one_hot(c, model.classes), noise
            report(start + n, {})

    return fisher_diagonal(model, elbo_loss, batches())[0]


def combine(diagonals: Iterable[Diagonal]) -> Diagonal:
    """Elementwise sum of several diagonals (accumulated over the steps of a sequence)."""
    total: Diagonal = {}
    for diagonal in diagonals:
        for name, value in diagonal.items():
            total[name] = total[name] + value if name in total else value.clone()
    return total
