"""Any number of true classes: binary cross-entropy, its negatives assumed; focal and asymmetric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch.nn import functional
from typing_extensions import override

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.objectives.base import Objective
from hf_inatsounds.objectives.hierarchy import RankTerm


@dataclass(frozen=True)
class Asymmetry:
    """How much easy classes count less.

    Args:
        gamma_positive: γ₊ ≥ 0, for annotated classes.
        gamma_negative: γ₋ ≥ 0, for the others.
        margin: m in [0, 1), taken from the probability of the others: below it they do not count at all.

    Source: Ben-Baruch 2021, whose defaults these are; γ₊ = γ₋ and m = 0 is the focal loss.

    >>> Asymmetry.of({"margin": 0.1}).gamma_negative
    4.0
    """

    gamma_positive: float = 1.0
    gamma_negative: float = 4.0
    margin: float = 0.05

    def __post_init__(self) -> None:
        if self.gamma_positive < 0 or self.gamma_negative < 0 or not 0.0 <= self.margin < 1.0:
            raise RecipeError("bad value", where="asymmetry", found=self, expected="gammas ≥ 0, a margin in [0, 1)")

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Asymmetry:
        """From keys and values; an unknown key is a RecipeError."""
        known = [one.name for one in fields(cls)]
        unknown = set(values) - set(known)
        if unknown:
            raise RecipeError("unknown key", where=f"asymmetry.{min(unknown)}", expected=", ".join(known))
        return cls(**values)


PLAIN = Asymmetry(0.0, 0.0, 0.0)


class Multilabel(Objective):
    """Binary cross-entropy, every class that is not annotated assumed absent.

    ``loss = -Σ_c t_c (1 - p_c)^γ₊ log p_c + w (1 - t_c) q_c^γ₋ log(1 - q_c)`` with ``p = σ(z)`` and
    ``q = max(p - m, 0)``: summed over classes, mean over the batch. A taxon is present with the probability that
    not all of its species are absent.

    Args:
        negative_weight: w, of the classes assumed absent.
        asymmetry: γ₊, γ₋ and m; all 0 for plain cross-entropy.
        ranks: ranks above the species that have a loss too, a plain one.

    Source: cvl-umass/iNatSounds; under mixup the targets are the union of both labels, whatever λ.
    """

    name = "multilabel"
    problem_type = "multi_label_classification"

    def __init__(
        self, *, negative_weight: float = 1.0, asymmetry: Asymmetry = PLAIN, ranks: tuple[RankTerm, ...] = ()
    ) -> None:
        super().__init__(ranks=ranks)
        self.negative_weight = negative_weight
        self.asymmetry = asymmetry

    @override
    def initial_logit(self, n_classes: int) -> float:
        """``-log(C - 1)``: a probability of 1/C, as of one label per recording.

        From 1/2 each, the first steps press all logits down together, through the features as through the biases, and
        small transformers do not recover (decision 0023).

        Source: Lin 2017 (focal loss), section 3.3, of rare classes.
        """
        return -math.log(max(n_classes - 1, 1))

    @override
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        return torch.maximum(targets, partner)

    @override
    def species_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        shape = self.asymmetry
        present, absent = -functional.logsigmoid(logits), -functional.logsigmoid(-logits)
        if shape.margin:
            # log(1 - max(p - m, 0)); 1 - p comes from the logit, so that it keeps its digits near 0
            absent = -((-absent).exp() + shape.margin).clamp_max(1.0).log()
        if shape.gamma_positive:
            present = present * logits.neg().sigmoid().pow(shape.gamma_positive)
        if shape.gamma_negative:
            absent = absent * (logits.sigmoid() - shape.margin).clamp_min(0.0).pow(shape.gamma_negative)
        return (targets * present + self.negative_weight * (1.0 - targets) * absent).sum(-1)

    @override
    def rank_losses(self, logits: torch.Tensor, targets: torch.Tensor, term: RankTerm) -> torch.Tensor:
        taxa = term.taxa.to(logits.device)
        zeros = logits.new_zeros((len(logits), term.n_taxa))
        log_absent = zeros.index_add(1, taxa, functional.logsigmoid(-logits))
        wanted = zeros.scatter_reduce(1, taxa.expand_as(targets), targets.to(zeros.dtype), "amax")
        # clamped: a taxon that is as good as absent has a finite loss, and a gradient
        log_present = (-log_absent.clamp_max(-1e-6).expm1()).log()
        return -(wanted * log_present + self.negative_weight * (1.0 - wanted) * log_absent).sum(-1)

    @override
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid()
