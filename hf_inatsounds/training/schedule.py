"""Learning rates: a warm-up that may begin above zero, and a fall that may end there."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The learning rate as a share of its peak.

    ``share(t) = s + (1 - s) · t / w`` for the ``w`` warm-up steps; then, with ``p`` from 0 to 1 over the others,
    ``m + (1 - m) · (1 + cos πp) / 2`` or ``m + (1 - m) · (1 - p)``.

    Args:
        kind: "cosine" or "linear".
        warmup_steps: w.
        total_steps: of the run.
        start_share: s.
        end_share: m.

    >>> schedule = Schedule("cosine", 5, 50, start_share=0.1, end_share=0.1)
    >>> [round(schedule(step), 3) for step in (0, 5, 50)]
    [0.1, 1.0, 0.1]

    Source: cvl-umass/iNatSounds: five of 50 epochs of linear warm-up from .1 ×, then cosine to .1 ×.
    """

    kind: str
    warmup_steps: int
    total_steps: int
    start_share: float = 0.0
    end_share: float = 0.0

    def __call__(self, step: int) -> float:
        """Share of the peak at a step, counted from 0."""
        if step < self.warmup_steps:
            return self.start_share + (1.0 - self.start_share) * step / self.warmup_steps
        passed = min((step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1), 1.0)
        falling = (1.0 + math.cos(math.pi * passed)) / 2 if self.kind == "cosine" else 1.0 - passed
        return self.end_share + (1.0 - self.end_share) * falling
