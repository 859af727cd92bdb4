"""What a benchmark may be told."""

from __future__ import annotations

from dataclasses import dataclass

from hf_inatsounds.downstream.names import PROTOCOLS, Protocol
from hf_inatsounds.errors import ArgumentsError


@dataclass(frozen=True)
class Options:
    """What a benchmark may be told.

    Attributes:
        protocol: one of ``PROTOCOLS``.
        random_init: seed of weights drawn anew, for comparison; None for the checkpoint's own.
        shots: exemplars per class, of few-shot.
        seeds: number of few-shot draws.
        seed: of everything else that is drawn.
        codes: CSV of codes and scientific names, for zero-shot.
        synonyms: CSV of names and accepted names, for zero-shot.
        recipe: YAML of fine-tuning; None for a short one.
        window_s: window that clips are cut into; None for the checkpoint's.
        stride_s: between windows; None for the checkpoint's.
        bootstrap: draws of the intervals; 0 for none.
        cache: folder of cached embeddings; None for the user's.
        revision: branch, tag or commit of a Hub model; None for its main branch.
        subfolder: where in the folder or repository the checkpoint is; None for its top.
    """

    protocol: Protocol = "linear-probe"
    random_init: int | None = None
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 5
    seed: int = 0
    codes: str | None = None
    synonyms: str | None = None
    recipe: str | None = None
    window_s: float | None = None
    stride_s: float | None = None
    bootstrap: int = 200
    cache: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    device: str = "auto"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ArgumentsError(
                "unknown protocol", where="--protocol", found=self.protocol, expected=", ".join(PROTOCOLS)
            )
        for name, least in (("seeds", 1), ("bootstrap", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ArgumentsError("bad value", where=f"--{name}", found=getattr(self, name), expected=f"≥ {least}")
        if not self.shots or min(self.shots) < 1:
            raise ArgumentsError("bad value", where="--shots", found=self.shots, expected="numbers ≥ 1")
        for name, protocols in (("codes", "zero-shot"), ("synonyms", "zero-shot"), ("recipe", "fine-tune")):
            if getattr(self, name) is not None and self.protocol != protocols:
                raise ArgumentsError(
                    f"--{'names' if name == 'codes' else name} is for {protocols}", found=self.protocol
                )
