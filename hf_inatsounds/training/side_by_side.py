"""A model that several processes train: what DDP has to be told of it, and batch norms over all processes' examples."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.models.finetuning import body_layers

LAYER_DROPS = ("layerdrop", "encoder_layerdrop")
"""Keys of a config that say how often a layer is skipped in training."""


def leaves_parameters_out(model: Any) -> bool:
    """Whether a step can give trained parameters no gradient: skipped layers, other ones on other processes.

    Each process draws its own layers to skip, as it draws its own dropout. DDP then has to look for parameters that
    have no gradient (``find_unused_parameters``), and counts theirs as 0 in the mean over the processes. The embedding
    of masks that are never made is another such parameter.

    Args:
        model: a transformers classifier, frozen as it will be trained.
    """
    config = model.config
    masks = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0.0) > 0
    trained = [name for name, weights in model.named_parameters() if weights.requires_grad]
    if not masks and any(name.endswith("masked_spec_embed") for name in trained):
        return True
    return any(weights.requires_grad for layer in _skippable(model) for weights in layer.parameters())


def _skippable(model: Any) -> list[nn.Module]:
    """Layers that a process may skip in a step."""
    if not any(getattr(model.config, key, 0.0) for key in LAYER_DROPS):
        return []
    try:
        return list(body_layers(model))
    except RecipeError:
        return []


def has_own_batch_norms(model: Any) -> bool:
    """Whether a trained batch norm is in a layer that a process may skip, as a Conformer's are: those stay its own.

    Statistics of all processes need all of them in the layer at once. DDP then gives all processes the first one's
    running statistics before each pass.
    """
    inside = [module for layer in _skippable(model) for module in layer.modules()]
    return any(_is_trained_norm(module) for module in inside)


def _is_trained_norm(module: nn.Module) -> bool:
    norms = (*SHARED, *SHARED.values())
    return type(module) in norms and any(weights.requires_grad for weights in module.parameters())


def share_batch_norms(model: nn.Module) -> int:
    """Let each trained batch norm take its statistics from the examples of all processes; returns how many do.

    Those in layers that a process may skip stay its own (:func:`has_own_batch_norms`).
    """
    shared, own = 0, {id(module) for layer in _skippable(model) for module in layer.modules()}
    for module in model.modules():
        kind = SHARED.get(type(module))
        if kind is not None and _is_trained_norm(module) and id(module) not in own:
            module.__class__ = kind  # in place: its weights, hooks and what is frozen of it stay
            shared += 1
    return shared


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes: what each one's loss takes from it, its gradient gives to all."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        summed = values.clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        summed = gradients[0].clone()
        torch.distributed.all_reduce(summed)
        return summed


class _Shared(nn.modules.batchnorm._BatchNorm):
    """A batch norm whose mean and variance are those of all processes' examples; weights and buffers have their names.

    With n_p values per channel, mean m_p and sum of squares around it s_p in process p, ``m = Σ n_p m_p / Σ n_p`` and
    ``v = Σ (s_p + n_p (m_p - m)²) / Σ n_p``, which loses no digits where m is large. torch's SyncBatchNorm is for GPUs
    alone.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Normalised values (B, C, …); all processes together, in training."""
        if not self.training or not torch.distributed.is_initialized():
            return super().forward(values)
        with torch.autocast(values.device.type, enabled=False):
            return self._normalised(values.float()).to(values.dtype)

    def _normalised(self, values: torch.Tensor) -> torch.Tensor:
        number, process = torch.distributed.get_world_size(), torch.distributed.get_rank()
        variance, mean = torch.var_mean(values, (0, *range(2, values.ndim)), correction=0)
        n_values = values.new_full((1,), values.numel() / values.shape[1])
        own = torch.cat([n_values, mean, variance * n_values])
        rows = torch.zeros(number, len(own), device=own.device, dtype=own.dtype)
        rows = rows.index_copy(0, torch.tensor([process], device=own.device), own[None])
        rows = _Sum.apply(rows)  # type: ignore[no-untyped-call]  # torch has not typed it
        counts, means, squares = rows[:, :1], rows[:, 1 : 1 + len(mean)], rows[:, 1 + len(mean) :]
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        variance = (squares + counts * (means - mean).square()).sum(0) / total
        self._remember(mean.detach(), variance.detach(), float(total))
        scale = (variance + self.eps).rsqrt() * self.weight
        shape = (-1, *[1] * (values.ndim - 2))
        return values * scale.view(shape) + (self.bias - mean * scale).view(shape)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, total: float) -> None:
        """The running statistics' step, as torch's batch norm makes it."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (total / max(total - 1.0, 1.0)), share)


class SharedBatchNorm1d(_Shared, nn.BatchNorm1d):
    """Over (B, C) or (B, C, T)."""


class SharedBatchNorm2d(_Shared, nn.BatchNorm2d):
    """Over (B, C, H, W)."""


SHARED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: SharedBatchNorm1d,
    nn.BatchNorm2d: SharedBatchNorm2d,
}
"""torch's batch norm → ours of the same values."""
