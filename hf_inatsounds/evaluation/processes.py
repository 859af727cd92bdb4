"""Several processes that score a split side by side, and what their blocks depend on."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hf_inatsounds.archives.fetch import public_place
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.split_info import SplitInfo
from hf_inatsounds.errors import InatSoundsError, ScoresError
from hf_inatsounds.evaluation.classes import fit_classes
from hf_inatsounds.fingerprints import code_fingerprint, fingerprint, tensors_fingerprint, versions
from hf_inatsounds.models.classifier import Classifier, load_classifier
from hf_inatsounds.progress import Bar
from hf_inatsounds.runtime.devices import device_count, dtype_name
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.runtime.launching import beside
from hf_inatsounds.scoring.folder import Blocks

Array = np.ndarray[Any, np.dtype[Any]]


MADE_BY = ("hf_inatsounds.scoring.folder", "hf_inatsounds.evaluation.classes", "hf_inatsounds.data.split_info")
"""Modules that make scores of recordings; what they import counts too."""

COMPUTED_BY = ("torch", "torchaudio", "transformers", "numpy", "soundfile", "soxr")


def plan_of(classifier: Classifier, info: SplitInfo, window: WindowSpec, classes: Array) -> dict[str, Any]:
    """What scores depend on: blocks that a kill left, or whole scores, are used where it is the same.

    Returns:
        Facts by the names under which a message tells that they have changed, in JSON's types.
    """
    config = {key: value for key, value in classifier.model.config.to_dict().items() if not key.startswith("_")}
    settings = {
        "config": json.dumps(config, sort_keys=True, default=str),
        "feature_extractor": repr(classifier.feature_extractor),
        "objective": classifier.objective.name,
    }
    return {
        "code": code_fingerprint(*MADE_BY),
        "libraries": versions(*COMPUTED_BY),
        "settings": fingerprint(settings),
        "weights": tensors_fingerprint(classifier.model.state_dict()),
        "dtype": dtype_name(classifier.dtype),
        "source": [public_place(info.source), public_place(info.index), info.selection.text, info.split, info.state],
        "annotations": info.annotations,
        "window": [window.size_s, window.stride_s, window.alignment],
        "classes": fingerprint({"classes": classes.tolist()}),
    }


@dataclass(frozen=True)
class Scoring:
    """What is scored, and how.

    Attributes:
        info: the split.
        window: how recordings are cut.
        classes: (K,) that take part, ascending.
        blocks: where scores go.
        batch_size: windows per forward pass.
        quiet: no progress bar.
    """

    info: SplitInfo
    window: WindowSpec
    classes: Array
    blocks: Blocks
    batch_size: int
    quiet: bool

    def score(self, classifier: Classifier, part: tuple[int, int] = (0, 1)) -> None:
        """Score the missing blocks that are the i-th of n processes', ``part`` = (i, n)."""
        number, processes = part
        rows = self.info.scored_rows()
        numbers = range(number, self.blocks.count(len(rows)), processes)
        title = f"scoring {self.info.split}" + (f", process 1 of {processes}" if processes > 1 else "")
        with contextlib.closing(Bar(title, quiet=self.quiet or number > 0)) as bar:
            bar.start(len(rows))
            self.blocks.score(
                classifier, rows, self.window, self.classes, batch_size=self.batch_size, numbers=numbers,
                read=bar.advance,
            )  # fmt: skip


def score_in_processes(scoring: Scoring, classifier: Classifier, checkpoint: str, processes: int) -> None:
    """Score the missing blocks in processes of their own, each on a GPU of its own where there are several.

    Each loads ``checkpoint`` anew, onto ``classifier``'s kind of device and in its precision.

    Raises:
        InatSoundsError: what a process raises.
    """
    context = multiprocessing.get_context("spawn")  # a forked torch may hang
    model = (checkpoint, classifier.model.device.type, dtype_name(classifier.dtype))
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = [pool.submit(_worker, scoring, model, (i, processes)) for i in range(processes)]
        try:
            for job in jobs:
                job.result()
        except InatSoundsError:
            pool.shutdown(cancel_futures=True)
            raise
        except (OSError, BrokenExecutor) as error:
            raise ScoresError(
                "a scoring process ended", where="--processes", found=error,
                fix="What was scored is kept: evaluate again, with fewer processes if memory was short.",
            ) from error  # fmt: skip


def launched_processes(device: str | None = None) -> Launched | None:
    """The processes that ``accelerate launch`` or torchrun started beside this one; None where it is alone."""
    return Launched(device) if beside() else None


def score_launched(scoring: Scoring, classifier: Classifier, launched: Launched) -> None:
    """Score this process's part of the missing blocks, and wait until all processes have scored theirs."""
    launched.wait("the first process to prepare the folder")
    scoring.score(classifier, (launched.process_index, launched.num_processes))
    launched.wait("all parts of the split to be scored")


def _worker(scoring: Scoring, model: tuple[str, str, str], part: tuple[int, int]) -> None:
    checkpoint, kind, dtype = model
    if kind == "cpu":
        torch.set_num_threads(max(torch.get_num_threads() // part[1], 1))
    count = device_count(kind)
    device = f"{kind}:{part[0] % count}" if count > 1 else kind
    classifier = load_classifier(checkpoint, device=device, dtype=dtype)
    fit_classes(classifier, scoring.info.label_space, scoring.classes.tolist())
    scoring.score(classifier, part)
