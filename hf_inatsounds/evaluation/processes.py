"""Several processes that score a split side by side, and what their blocks depend on."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import torch
from accelerate import PartialState

from hf_inatsounds import __version__
from hf_inatsounds.errors import InatSoundsError, ScoresError
from hf_inatsounds.evaluation.classes import fit_classes
from hf_inatsounds.evaluation.split import SplitInfo
from hf_inatsounds.models import Classifier, load_classifier
from hf_inatsounds.progress import track
from hf_inatsounds.scoring.folder import Blocks
from hf_inatsounds.windows import WindowSpec

Array = np.ndarray[Any, np.dtype[Any]]


def plan_of(classifier: Classifier, info: SplitInfo, window: WindowSpec, classes: Array) -> dict[str, Any]:
    """What scores depend on: blocks that a kill left, or whole scores, are used where it is the same."""
    config = {key: value for key, value in classifier.model.config.to_dict().items() if not key.startswith("_")}
    settings = json.dumps(config, sort_keys=True, default=str) + repr(classifier.feature_extractor)
    weights = hashlib.sha256()
    for name, tensor in sorted(classifier.model.state_dict().items()):
        weights.update(name.encode())
        weights.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).data)
    return {
        "version": __version__,
        "settings": hashlib.sha256(settings.encode()).hexdigest(),
        "weights": weights.hexdigest(),
        "source": [info.source, info.index, info.name, info.split, info.revision],
        "window": [window.size_s, window.stride_s, window.alignment],
        "classes": hashlib.sha256(np.ascontiguousarray(classes, np.int64).data).hexdigest(),
    }


def score_in_processes(
    checkpoint: str,
    info: SplitInfo,
    window: WindowSpec,
    classes: Array,
    blocks: Blocks,
    batch_size: int,
    processes: int,
    quiet: bool,
) -> None:
    """Score the missing blocks in processes of their own, each on a GPU of its own where there are some.

    Raises:
        InatSoundsError: what a process raises.
    """
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = [
            pool.submit(_worker, checkpoint, info, window, classes, blocks, batch_size, (i, processes), quiet or i > 0)
            for i in range(processes)
        ]
        try:
            for job in jobs:
                job.result()
        except InatSoundsError:
            pool.shutdown(cancel_futures=True)
            raise
        except OSError as error:
            raise ScoresError("a scoring process ended", where="--processes", found=error) from error


def launched_processes() -> PartialState | None:
    """The processes that ``accelerate launch`` or torchrun started beside this one; None where it is alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    return PartialState(cpu=not torch.cuda.is_available())


def score_launched(
    launched: PartialState,
    classifier: Classifier,
    info: SplitInfo,
    window: WindowSpec,
    classes: Array,
    blocks: Blocks,
    batch_size: int,
    quiet: bool,
) -> None:
    """Score this process's part of the missing blocks, and wait until all processes have scored theirs."""
    launched.wait_for_everyone()  # until the main one has prepared the folder
    part = (launched.process_index, launched.num_processes)
    title = f"scoring {info.split}, process 1 of {part[1]}"
    rows = track(info.rows(), title, total=len(info.labels), quiet=quiet or part[0] > 0)
    blocks.score(classifier, rows, window, classes, batch_size=batch_size, part=part)
    launched.wait_for_everyone()


def _worker(
    checkpoint: str,
    info: SplitInfo,
    window: WindowSpec,
    classes: Array,
    blocks: Blocks,
    batch_size: int,
    part: tuple[int, int],
    quiet: bool,
) -> None:
    gpus = torch.cuda.device_count()
    if not gpus:
        torch.set_num_threads(max(torch.get_num_threads() // part[1], 1))
    classifier = load_classifier(checkpoint, device=f"cuda:{part[0] % gpus}" if gpus else "cpu")
    fit_classes(classifier, info.label_space, classes.tolist())
    rows = track(info.rows(), f"scoring {info.split}, process 1 of {part[1]}", total=len(info.labels), quiet=quiet)
    blocks.score(classifier, rows, window, classes, batch_size=batch_size, part=part)
