"""Ranks above the species: which taxon each class belongs to, and sums of probabilities over taxa."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.schema import RANKS, taxon_numbers


@dataclass(frozen=True)
class RankTerm:
    """A rank whose taxa have a loss.

    Attributes:
        rank: its name.
        weight: of its loss, beside the species' 1.
        taxa: (C,) int64, the taxon of each class.
        n_taxa: how many there are.
    """

    rank: str
    weight: float
    taxa: torch.Tensor
    n_taxa: int


def rank_terms(label_space: LabelSpace, weights: Mapping[str, float]) -> tuple[RankTerm, ...]:
    """The terms of some ranks, in the order of the taxonomy.

    Taxa of one name in different families are two: a taxon is its whole lineage.

    Raises:
        RecipeError: if a rank is unknown or a species' own, or its weight not above 0.

    >>> from hf_inatsounds.data.labels import LabelSpace, Taxon
    >>> lineage = ("Animalia", "Chordata", "Aves", "Passeriformes", "Turdidae", "Turdus")
    >>> birds = [Taxon(f"Turdus {e}", "", "Aves", (*lineage, e), True) for e in ("merula", "pilaris")]
    >>> rank_terms(LabelSpace(tuple(birds)), {"genus": 0.5})[0].taxa
    tensor([0, 0])
    """
    above = RANKS[:-1]
    for rank, weight in weights.items():
        if rank not in above:
            raise RecipeError("unknown rank", where="hierarchy", found=repr(rank), expected=", ".join(above))
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise RecipeError("bad weight", where=f"hierarchy.{rank}", found=repr(weight), expected="more than 0")
    terms = []
    for depth, rank in enumerate(above, start=1):
        if rank in weights:
            taxa = taxon_numbers(label_space.ranks, depth)
            terms.append(RankTerm(rank, float(weights[rank]), torch.tensor(taxa), max(taxa) + 1))
    return tuple(terms)


def group_log_sum(log_values: torch.Tensor, groups: torch.Tensor, n_groups: int) -> torch.Tensor:
    """``out[b, g] = log Σ_{c in g} exp(log_values[b, c])``, without overflow.

    Args:
        log_values: (B, C).
        groups: (C,) int64 in [0, ``n_groups``), none of them empty.
        n_groups: G.

    Returns:
        (B, G).

    >>> group_log_sum(torch.tensor([[0.2, 0.3, 0.5]]).log(), torch.tensor([0, 0, 1]), 2).exp()
    tensor([[0.5000, 0.5000]])
    """
    index = groups.expand_as(log_values)
    lowest = log_values.new_full((len(log_values), n_groups), -torch.inf)
    greatest = lowest.scatter_reduce(1, index, log_values.detach(), "amax")
    shifted = (log_values - greatest.gather(1, index)).exp()
    return greatest + torch.zeros_like(greatest).scatter_add(1, index, shifted).log()
