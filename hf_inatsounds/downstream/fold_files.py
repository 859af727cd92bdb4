"""Results of folds on disk: an interrupted benchmark goes on with the fold it was at."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from hf_inatsounds.downstream.clips import ParquetCell, Task
from hf_inatsounds.downstream.protocols import FoldResult
from hf_inatsounds.files import replacing, write_json
from hf_inatsounds.fingerprints import code_fingerprint, file_stamp, fingerprint, versions


def fold_file(folder: Path, task: str, fold: str) -> Path:
    """Where a fold's result is; its scores stand beside it."""
    return folder / "folds" / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', f'{task}-{fold}')}.json"


def save_fold(path: Path, result: FoldResult, fingerprint: str) -> None:
    """Write a fold's scores, then its result, which tells that both are whole."""
    arrays = {"test": result.test}
    arrays |= {} if result.scores is None else {"scores": result.scores}
    arrays |= {} if result.columns is None else {"columns": result.columns}
    with replacing(path.with_suffix(".safetensors")) as temporary:
        save_file({key: np.ascontiguousarray(value) for key, value in arrays.items()}, temporary)
    told = {key: value for key, value in asdict(result).items() if key not in ("scores", "test", "columns")}
    write_json(path, {"fingerprint": fingerprint, **told})


def load_fold(path: Path, fingerprint: str) -> FoldResult | None:
    """A fold's result, if there is one and it was made from the same things."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.pop("fingerprint") != fingerprint:
            return None
        arrays = load_file(path.with_suffix(".safetensors"))
        return FoldResult(**told, test=arrays["test"], scores=arrays.get("scores"), columns=arrays.get("columns"))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None  # none yet, or one of an earlier version: it is made again


def fold_fingerprint(task: Task, fold: Any, *what: Any) -> str:
    """SHA-256 of all that a fold's result depends on: clips, labels, recordings, model, options, code, libraries."""
    stamps: dict[str, list[int]] = {}
    for clip in task.clips:
        path = clip.audio.path if isinstance(clip.audio, ParquetCell) else clip.audio
        if path not in stamps:
            stamps[path] = list(file_stamp(path))
    return fingerprint({
        "code": code_fingerprint("hf_inatsounds.downstream.protocols"),
        "libraries": versions("torch", "transformers", "numpy", "scipy", "scikit-learn", "soundfile", "soxr"),
        "asked": repr((task.name, task.classes, task.policy, fold, what)),
        "clips": [repr(clip) for clip in task.clips],
        "recordings": stamps,
    })  # fmt: skip
