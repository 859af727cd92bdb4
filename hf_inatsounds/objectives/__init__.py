"""Objectives: what the loss sees and what a score is; and what a long tail asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.objectives.base import Objective
from hf_inatsounds.objectives.contrastive import Contrastive, supervised_contrastive_losses
from hf_inatsounds.objectives.hierarchy import RankTerm, rank_terms
from hf_inatsounds.objectives.long_tail import SAMPLINGS, class_log_prior, sampling_weights
from hf_inatsounds.objectives.multiclass import Multiclass
from hf_inatsounds.objectives.multilabel import Asymmetry, Multilabel

__all__ = [
    "Asymmetry",
    "Contrastive",
    "LOSSES",
    "Multiclass",
    "Multilabel",
    "Objective",
    "RankTerm",
    "SAMPLINGS",
    "class_log_prior",
    "objective_for",
    "objective_of",
    "rank_terms",
    "sampling_weights",
    "supervised_contrastive_losses",
]

LOSSES = ("plain", "focal", "asymmetric")


def objective_for(
    name: str,
    *,
    label_smoothing: float = 0.0,
    loss: str = "plain",
    focal_gamma: float = 0.0,
    asymmetry: Mapping[str, float] | None = None,
    negative_weight: float = 1.0,
    logit_adjustment: float = 0.0,
    hierarchy: Mapping[str, float] | None = None,
    label_space: LabelSpace | None = None,
    class_counts: np.ndarray[Any, np.dtype[Any]] | None = None,
) -> Objective:
    """The objective called ``name``, with its options.

    Args:
        name: "multiclass" or "multilabel".
        label_smoothing: of the multiclass targets, in [0, 1).
        loss: "plain", "focal", or, for multilabel, "asymmetric".
        focal_gamma: of the focal loss, 0 for its paper's 2.
        asymmetry: of the asymmetric loss: ``gamma_positive``, ``gamma_negative``, ``margin``.
        negative_weight: of the classes that multilabel assumes absent, beside those that are annotated.
        logit_adjustment: τ of multiclass logit adjustment, which needs ``class_counts``; 0 for none.
        hierarchy: rank → weight of its loss, which needs ``label_space``.
        label_space: the classes.
        class_counts: (C,) training recordings of each class.

    Raises:
        RecipeError: unknown name, loss or rank, a value out of range, or options that contradict each other.
    """
    if name not in (Multiclass.name, Multilabel.name):
        raise RecipeError("unknown objective", where="objective", found=repr(name), expected="multiclass or multilabel")
    if loss not in LOSSES:
        raise RecipeError("unknown loss", where="loss", found=repr(loss), expected=", ".join(LOSSES))
    is_multiclass = name == Multiclass.name
    _require("label_smoothing", label_smoothing, is_multiclass or not label_smoothing, "0 with multilabel")
    _require("label_smoothing", label_smoothing, 0.0 <= label_smoothing < 1.0, "a share in [0, 1)")
    _require("focal_gamma", focal_gamma, loss == "focal" or not focal_gamma, "0, or the focal loss")
    _require("focal_gamma", focal_gamma, focal_gamma >= 0.0, "at least 0")
    _require("asymmetry", asymmetry, loss == "asymmetric" or not asymmetry, "nothing, or the asymmetric loss")
    _require("loss", loss, not (is_multiclass and loss == "asymmetric"), "plain or focal with multiclass")
    _require("negative_weight", negative_weight, negative_weight > 0.0, "more than 0")
    _require("negative_weight", negative_weight, not is_multiclass or negative_weight == 1.0, "1 with multiclass")
    _require("logit_adjustment", logit_adjustment, logit_adjustment >= 0.0, "at least 0")
    _require("logit_adjustment", logit_adjustment, is_multiclass or not logit_adjustment, "0 with multilabel")
    terms = rank_terms(label_space, hierarchy) if hierarchy and label_space is not None else ()
    gamma = (focal_gamma or 2.0) if loss == "focal" else 0.0
    if is_multiclass:
        prior: torch.Tensor | None = None
        if logit_adjustment and class_counts is not None:
            prior = logit_adjustment * class_log_prior(class_counts)
        return Multiclass(label_smoothing, focal_gamma=gamma, log_prior=prior, ranks=terms)
    shape = Asymmetry.of(asymmetry or {}) if loss == "asymmetric" else Asymmetry(gamma, gamma, 0.0)
    return Multilabel(negative_weight=negative_weight, asymmetry=shape, ranks=terms)


def objective_of(problem_type: str | None) -> Objective:
    """The objective of a checkpoint, by its config's ``problem_type``; multiclass where it says nothing."""
    return Multilabel() if problem_type == Multilabel.problem_type else Multiclass()


def _require(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise RecipeError("bad value in the recipe", where=key, found=repr(value), expected=expected)
