"""The long tail: priors of classes, and how often recordings are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hf_inatsounds.errors import RecipeError

Array = np.ndarray[Any, np.dtype[Any]]

SAMPLINGS = ("natural", "square-root", "class-balanced", "uniform")


def class_log_prior(class_counts: Array) -> torch.Tensor:
    """``log π_c``, π the classes' shares of the training recordings; a class without one counts as if it had one.

    Args:
        class_counts: (C,) ≥ 0.

    Returns:
        (C,) float32.

    Source: Menon 2021, section 3.

    >>> class_log_prior(np.array([3, 1])).exp()
    tensor([0.7500, 0.2500])
    """
    counts = np.maximum(np.asarray(class_counts, np.float64), 1.0)
    return torch.from_numpy(np.log(counts / counts.sum())).float()


def sampling_weights(labels: Array, sampling: str, *, beta: float = 0.999) -> Array:
    """How often each recording is drawn, beside the others; the mean is 1.

    With n_c recordings of class c: "natural" 1; "square-root" ``n_c^-½``, so that classes are drawn as the roots of
    their sizes; "class-balanced" ``(1 - β) / (1 - β^n_c)``, the inverse of the effective number; "uniform" ``1 / n_c``:
    every class as often as any other.

    Args:
        labels: (N,) int.
        sampling: one of ``SAMPLINGS``.
        beta: in [0, 1), of "class-balanced".

    Returns:
        (N,) float64.

    Raises:
        RecipeError: unknown sampling, or beta out of range.

    Source: class-balanced: Cui 2019, eq. 2; square-root: Mahajan 2018.

    >>> sampling_weights(np.array([0, 0, 0, 0, 1]), "square-root").round(3)
    array([0.833, 0.833, 0.833, 0.833, 1.667])
    """
    if not 0.0 <= beta < 1.0:
        raise RecipeError("bad value", where="beta", found=beta, expected="a share in [0, 1)")
    labels = np.asarray(labels, np.int64)
    if not len(labels):
        return np.zeros(0)
    counts = np.bincount(labels).astype(np.float64)[labels]
    forms = {
        "natural": lambda: np.ones_like(counts),
        "square-root": lambda: counts**-0.5,
        "class-balanced": lambda: (1.0 - beta) / (1.0 - beta**counts),
        "uniform": lambda: 1.0 / counts,
    }
    if sampling not in forms:
        raise RecipeError("unknown sampling", where="sampling", found=repr(sampling), expected=", ".join(SAMPLINGS))
    weights: Array = forms[sampling]()
    return weights / weights.mean()
