"""Supervised contrastive learning: recordings of a species near each other, of others apart."""

from __future__ import annotations

import torch
from typing_extensions import override

from hf_inatsounds.errors import CheckpointError, RecipeError
from hf_inatsounds.objectives.base import Objective
from hf_inatsounds.objectives.hierarchy import RankTerm


class Contrastive(Objective):
    """Supervised contrastive pre-training of an encoder: there are no logits, and no scores.

    An example's positives are the others of its species, and the others of its recording, in the same forward pass of
    the same process; an example that cannot be read (weight 0) is nobody's positive or negative.

    Args:
        temperature: τ > 0.

    Source: Khosla 2020.
    """

    name = "contrastive"
    problem_type = None

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    @override
    def loss(self, logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        counted = weights > 0
        if int(counted.sum()) < 2:
            return logits.sum() * 0.0  # nobody to compare with; yet a part of the graph, as other processes wait for it
        losses = self.species_losses(logits[counted], targets[counted])
        return losses.sum() / weights.sum().clamp_min(1.0)

    @override
    def species_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return supervised_contrastive_losses(logits, targets.argmax(-1), temperature=self.temperature)

    @override
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        raise RecipeError("views of recordings are not mixed", where="mixup", expected="0 with contrastive")

    @override
    def rank_losses(self, logits: torch.Tensor, targets: torch.Tensor, term: RankTerm) -> torch.Tensor:
        raise RecipeError("no logits to sum over taxa", where="hierarchy", expected="nothing with contrastive")

    @override
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        raise CheckpointError("an encoder has no scores", where="contrastive pre-training", fix="Fine-tune it first.")


def supervised_contrastive_losses(
    features: torch.Tensor, labels: torch.Tensor, *, temperature: float = 0.1
) -> torch.Tensor:
    """Loss of each anchor that has a positive.

    ``L_i = -1 / |P(i)| Σ_{p ∈ P(i)} log(exp(z_i·z_p / τ) / Σ_{a ≠ i} exp(z_i·z_a / τ))``, P(i) the other examples with
    i's label. Views of one recording are rows of the same label.

    Args:
        features: (N, D), of length 1 each.
        labels: (N,) int.
        temperature: τ > 0.

    Returns:
        (N,), 0 for an anchor without a positive.

    Raises:
        ValueError: if the shapes do not fit each other, or τ is not above 0.

    Source: Khosla 2020, eq. 2 (L_out).

    >>> z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    >>> supervised_contrastive_losses(z, torch.tensor([0, 0, 1]), temperature=1.0)
    tensor([0.1269, 0.1269, 0.0000])
    """
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(f"features must be (N, D) and labels (N,); got {features.shape} and {labels.shape}")
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0; got {temperature}")
    itself = torch.eye(len(labels), dtype=torch.bool, device=features.device)
    similarity = (features.float() @ features.float().T / temperature).masked_fill(itself, -torch.inf)
    log_share = (similarity - similarity.logsumexp(1, keepdim=True)).masked_fill(itself, 0.0)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    return (log_share.neg() * positive).sum(1) / positive.sum(1).clamp_min(1)
