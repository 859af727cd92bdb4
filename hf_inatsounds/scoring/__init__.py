"""Scoring: recordings → windows → logits → file-level scores, kept as Parquet."""

from __future__ import annotations

from hf_inatsounds.scoring.recordings import read_windows
from hf_inatsounds.scoring.scores import SCORES_FILE, SCORES_MANIFEST, WINDOWS_FILE, FileScores

__all__ = [
    "SCORES_FILE",
    "SCORES_MANIFEST",
    "WINDOWS_FILE",
    "FileScores",
    "read_windows",
]
