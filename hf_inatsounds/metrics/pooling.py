"""Windows → files: softmax, and mean, maximum or log-mean-exp over a file's windows."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

Pooling = Literal["mean", "max", "log_mean_exp"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
Array = np.ndarray[Any, np.dtype[Any]]


def softmax(logits: Array) -> Array:
    """Softmax over the last axis, in float64.

    Args:
        logits: (…, C).

    Returns:
        (…, C), rows summing to 1.

    >>> softmax(np.array([2.0, 2.0]))
    array([0.5, 0.5])
    """
    logits = np.asarray(logits)
    exponents = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    exponents /= exponents.sum(axis=-1, keepdims=True)
    return exponents


class FilePool:
    """Running file-level scores of F files; windows come in any portions, so that a file can be of any length.

    With ``p_w = softmax(z_w)`` and ``Z_w = Σ_c exp(z_wc)`` of a file's windows w:

    - mean: ``1/n Σ_w p_w``, the headline of the protocol
    - max: ``max_w p_w``
    - log_mean_exp: softmax over classes of ``log 1/n Σ_w exp(z_w)``, which is ``Σ_w Z_w p_w / Σ_w Z_w``: windows
      with much evidence for anything count more than those with none

    Args:
        n_files: F.
        n_classes: C.

    >>> pool = FilePool(1, 2)
    >>> _ = pool.add(np.log([[1.0, 1.0], [9.0, 1.0]]), np.array([0, 0]))
    >>> {name: scores.round(3).tolist() for name, scores in pool.scores().items()}
    {'mean': [[0.7, 0.3]], 'max': [[0.9, 0.5]], 'log_mean_exp': [[0.833, 0.167]]}
    """

    def __init__(self, n_files: int, n_classes: int) -> None:
        self._sum = np.zeros((n_files, n_classes))
        self._maximum = np.zeros((n_files, n_classes))
        self._evidence = np.zeros((n_files, n_classes))  # Σ_w exp(z_w - reference)
        self._reference = np.full(n_files, -np.inf)
        self.counts = np.zeros(n_files, np.int64)

    def add(self, logits: Array, file_index: Array) -> Array:
        """Take windows.

        Args:
            logits: (W, C) real.
            file_index: (W,) int in [0, F), any order.

        Returns:
            (W, C) float64, the windows' own scores.

        Raises:
            ValueError: if a logit is NaN or infinite.
        """
        logits = np.asarray(logits, np.float64)
        files, order, starts, lengths = _runs(np.asarray(file_index))
        if not np.array_equal(order, np.arange(len(order))):
            logits = logits[order]
        peak = logits.max(axis=1)
        if not np.isfinite(peak).all():  # NaN wins every maximum
            raise ValueError(f"logits of window {int(order[np.argmin(np.isfinite(peak))])} are not finite")
        exponents = np.exp(logits - peak[:, None])
        total = exponents.sum(axis=1)
        reference = np.maximum(self._reference[files], np.maximum.reduceat(peak, starts))
        shrink = np.exp(self._reference[files] - reference)
        self._reference[files] = reference
        weight = np.exp(peak - np.repeat(reference, lengths))
        evidence = np.add.reduceat(exponents * weight[:, None], starts, axis=0)
        self._evidence[files] = self._evidence[files] * shrink[:, None] + evidence
        exponents /= total[:, None]
        self._sum[files] += np.add.reduceat(exponents, starts, axis=0)
        self._maximum[files] = np.maximum(self._maximum[files], np.maximum.reduceat(exponents, starts, axis=0))
        self.counts[files] += lengths
        scores = np.empty_like(exponents)
        scores[order] = exponents
        return scores

    def scores(self) -> dict[Pooling, Array]:
        """(F, C) float64 of each way.

        Raises:
            ValueError: if a file has had no window.
        """
        if (self.counts == 0).any():
            raise ValueError(
                f"file_index must name each of {len(self.counts)} files; got no window of file {self.counts.argmin()}"
            )
        return {
            "mean": self._sum / self.counts[:, None],
            "max": self._maximum.copy(),
            "log_mean_exp": self._evidence / self._evidence.sum(axis=1, keepdims=True),
        }


def _runs(file_index: Array) -> tuple[Array, Array, Array, Array]:
    """The files, an order that puts a file's windows together, and each one's first place and number in it."""
    order = np.argsort(file_index, kind="stable")
    files, starts, lengths = np.unique(file_index[order], return_index=True, return_counts=True)
    return files, order, starts, lengths
