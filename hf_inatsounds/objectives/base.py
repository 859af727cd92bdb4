"""What every objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch.nn import functional

from hf_inatsounds.objectives.hierarchy import RankTerm


class Objective(ABC):
    """Targets, loss and scores that belong together.

    Args:
        ranks: ranks above the species that have a loss too.
    """

    name: ClassVar[str]
    problem_type: ClassVar[str | None]
    """transformers' name, stored in the checkpoint so that its pipeline makes the same scores; None for no scores."""

    def __init__(self, *, ranks: tuple[RankTerm, ...] = ()) -> None:
        self.ranks = ranks

    def initial_logit(self, n_classes: int) -> float | None:
        """What a new head's biases begin at; None for what transformers gives them."""
        return None

    def targets(self, labels: torch.Tensor, n_classes: int) -> torch.Tensor:
        """(B,) labels → (B, C) float one-hot targets."""
        return functional.one_hot(labels, n_classes).float()

    @abstractmethod
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        """Targets (B, C) of a mixture with ``share`` of the first and ``1 - share`` of ``partner`` (B, C)."""

    @abstractmethod
    def species_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each example over the species, (B,), from logits (B, C) and targets (B, C) in [0, 1]."""

    @abstractmethod
    def rank_losses(self, logits: torch.Tensor, targets: torch.Tensor, term: RankTerm) -> torch.Tensor:
        """Loss of each example over the taxa of a rank, (B,), from the species' logits and targets."""

    @abstractmethod
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        """Scores (…, C) in [0, 1] from logits (…, C)."""

    def losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Loss of each example, (B,): of its species, and weighted of each rank that has a weight."""
        total = self.species_losses(logits, targets)
        for term in self.ranks:
            total = total + term.weight * self.rank_losses(logits, targets, term)
        return total

    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Mean loss over the batch, weighted.

        Args:
            logits: (B, C).
            targets: (B, C).
            weights: (B,) ≥ 0; a recording that cannot be read has 0. All zero gives a loss of 0.
        """
        per_example = self.losses(logits.float(), targets) * weights
        return per_example.sum() / weights.sum().clamp_min(1.0)
