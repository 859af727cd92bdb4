"""Objectives: what the loss sees and what a score is, one class each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch.nn import functional
from typing_extensions import override

from hf_inatsounds.errors import RecipeError


class Objective(ABC):
    """Targets, loss and scores that belong together."""

    name: ClassVar[str]
    problem_type: ClassVar[str]
    """transformers' name, stored in the checkpoint so that its pipeline makes the same scores."""

    def targets(self, labels: torch.Tensor, n_classes: int) -> torch.Tensor:
        """(B,) labels → (B, C) float one-hot targets."""
        return functional.one_hot(labels, n_classes).float()

    @abstractmethod
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        """Targets (B, C) of a mixture with ``share`` of the first and ``1 - share`` of ``partner`` (B, C)."""

    @abstractmethod
    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each example, (B,), from logits (B, C) and targets (B, C) in [0, 1]."""

    @abstractmethod
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Scores (…, C) in [0, 1] from logits (…, C)."""

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Mean loss over the batch, weighted.

        Args:
            logits: (B, C).
            targets: (B, C).
            weights: (B,) ≥ 0; a recording that cannot be read has 0. All zero gives a loss of 0.
        """
        per_example = self.losses(logits.float(), targets) * weights
        return per_example.sum() / weights.sum().clamp_min(1.0)


class Multiclass(Objective):
    """Cross-entropy over all classes, one of them true.

    ``loss = -Σ_c t_c · log softmax(z)_c``, targets smoothed to ``(1 - ε) t + ε / C``.

    Args:
        label_smoothing: ε in [0, 1).

    Source: cvl-umass/iNatSounds; under mixup the targets are weighted by λ.
    """

    name = "multiclass"
    problem_type = "single_label_classification"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    @override
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        return share * targets + (1.0 - share) * partner

    @override
    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        smoothed = (1.0 - self.label_smoothing) * targets + self.label_smoothing / targets.shape[-1]
        return -(smoothed * logits.log_softmax(-1)).sum(-1)

    @override
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1)


class Multilabel(Objective):
    """Binary cross-entropy, every class that is not annotated assumed absent.

    ``loss = -Σ_c t_c · log σ(z_c) + (1 - t_c) · log(1 - σ(z_c))``: summed over classes, mean over the batch.

    Source: cvl-umass/iNatSounds; under mixup the targets are the union of both labels, whatever λ.
    """

    name = "multilabel"
    problem_type = "multi_label_classification"

    @override
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        return torch.maximum(targets, partner)

    @override
    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(-1)

    @override
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()


def objective_for(name: str, *, label_smoothing: float = 0.0) -> Objective:
    """The objective called ``name``: "multiclass" or "multilabel".

    Raises:
        RecipeError: if there is none of that name, or smoothing is asked of multilabel.
    """
    if name == Multiclass.name:
        return Multiclass(label_smoothing)
    if name == Multilabel.name:
        if label_smoothing:
            raise RecipeError(
                "label smoothing is for multiclass", where="label_smoothing", found=label_smoothing, expected=0
            )
        return Multilabel()
    raise RecipeError("unknown objective", where="objective", found=repr(name), expected="multiclass or multilabel")


def objective_of(problem_type: str | None) -> Objective:
    """The objective of a checkpoint, by its config's ``problem_type``; multiclass where it says nothing."""
    return Multilabel() if problem_type == Multilabel.problem_type else Multiclass()
