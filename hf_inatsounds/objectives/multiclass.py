"""One true class: cross-entropy, smoothed, focal, adjusted to a long tail."""

from __future__ import annotations

import torch
from typing_extensions import override

from hf_inatsounds.objectives.base import Objective
from hf_inatsounds.objectives.hierarchy import RankTerm, group_log_sum


class Multiclass(Objective):
    """Cross-entropy over all classes, one of them true.

    ``loss = -Σ_c t_c (1 - p_c)^γ log p_c`` with ``p = softmax(z + τ log π)``, targets smoothed to
    ``(1 - ε) t + ε / C``. A taxon's probability is the sum of its species'.

    Args:
        label_smoothing: ε in [0, 1).
        focal_gamma: γ; 0 for plain cross-entropy.
        log_prior: (C,) τ log π, added to the logits in the loss and never in the scores; None for zeros.
        ranks: ranks above the species that have a loss too.

    Source: cvl-umass/iNatSounds (under mixup the targets are weighted by λ); focal: Lin 2017, eq. 4; logit
        adjustment: Menon 2021, eq. 10.
    """

    name = "multiclass"
    problem_type = "single_label_classification"

    def __init__(
        self,
        label_smoothing: float = 0.0,
        *,
        focal_gamma: float = 0.0,
        log_prior: torch.Tensor | None = None,
        ranks: tuple[RankTerm, ...] = (),
    ) -> None:
        super().__init__(ranks=ranks)
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.log_prior = log_prior

    @override
    def mix(self, targets: torch.Tensor, partner: torch.Tensor, share: float) -> torch.Tensor:
        return share * targets + (1.0 - share) * partner

    @override
    def species_losses(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        smoothed = (1.0 - self.label_smoothing) * targets + self.label_smoothing / targets.shape[-1]
        log_p = self._log_probabilities(logits)
        if self.focal_gamma:
            return -(smoothed * (-log_p.expm1()).pow(self.focal_gamma) * log_p).sum(-1)
        return -(smoothed * log_p).sum(-1)

    @override
    def rank_losses(self, logits: torch.Tensor, targets: torch.Tensor, term: RankTerm) -> torch.Tensor:
        taxa = term.taxa.to(logits.device)
        wanted = targets.new_zeros((len(targets), term.n_taxa)).index_add(1, taxa, targets)
        return -(wanted * group_log_sum(self._log_probabilities(logits), taxa, term.n_taxa)).sum(-1)

    @override
    def scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.softmax(-1)

    def _log_probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        if self.log_prior is not None:
            logits = logits + self.log_prior.to(logits.device)
        return logits.log_softmax(-1)
