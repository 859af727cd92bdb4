"""Several processes that score a split side by side, and what their blocks depend on."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hf_inatsounds.archives.fetch import public_place
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.rows import ForwardRows, Scored, say_read_by_each
from hf_inatsounds.data.split_info import SplitInfo
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.evaluation.classes import fit_classes
from hf_inatsounds.fingerprints import code_fingerprint, fingerprint, tensors_fingerprint, versions
from hf_inatsounds.models.classifier import Classifier, load_classifier
from hf_inatsounds.progress import Bar
from hf_inatsounds.runtime.alone import Hold
from hf_inatsounds.runtime.devices import device_count, dtype_name
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.runtime.launching import beside
from hf_inatsounds.runtime.pool import processes
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
        number, count = part
        rows = self.info.scored_rows()
        say_read_by_each(rows, count, quiet=self.quiet or number > 0)
        title = f"scoring {self.info.split}" + (f", process 1 of {count}" if count > 1 else "")
        with contextlib.closing(Bar(title, quiet=self.quiet or number > 0)) as bar:
            bar.start(len(rows))
            self.score_blocks(classifier, rows, range(number, self.blocks.count(len(rows)), count), bar.advance)

    def score_blocks(
        self, classifier: Classifier, rows: Scored, numbers: Iterable[int], read: Callable[[], None] = lambda: None
    ) -> None:
        """Score those of some blocks that are missing."""
        self.blocks.score(
            classifier, rows, self.window, self.classes, batch_size=self.batch_size, numbers=numbers, read=read
        )

    def shares(self, count: int) -> list[list[int]]:
        """What is handed out to processes: a block at a time, to whoever is free.

        An archive without an index is read from front to back by each process, once: there each has its own blocks.
        """
        rows = self.info.scored_rows()
        say_read_by_each(rows, count, quiet=self.quiet)
        n = self.blocks.count(len(rows))
        if isinstance(rows, ForwardRows):
            return [list(range(i, n, count)) for i in range(count)]
        return [[i] for i in range(n) if not self.blocks.path(i, "scores").exists()]


def score_in_processes(scoring: Scoring, classifier: Classifier, checkpoint: str, count: int, hold: Hold) -> None:
    """Score the missing blocks in processes of their own, each on a GPU of its own where there are several.

    Each loads ``checkpoint`` anew, onto ``classifier``'s kind of device and in its precision, and holds the folder
    too: if this process is killed, nobody else begins there before they have ended.

    Raises:
        InatSoundsError: what a process raises.
    """
    model = (checkpoint, classifier.model.device.type, dtype_name(classifier.dtype))
    shares = scoring.shares(count)
    started = multiprocessing.get_context("spawn").Value("i", 0)
    try:
        with (
            contextlib.closing(Bar(f"scoring {scoring.info.split}, parts", quiet=scoring.quiet)) as bar,
            processes(count, _begin, hold, scoring, model, count, started) as pool,
        ):
            bar.start(len(shares))
            for job in as_completed([pool.submit(_work, numbers) for numbers in shares]):
                job.result()
                bar.advance()
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


_worker: dict[str, Any] = {}
"""In a process of the pool: what it scores with."""


def _begin(_: Hold, scoring: Scoring, model: tuple[str, str, str], count: int, started: Any) -> None:
    with started.get_lock():
        number = started.value
        started.value += 1
    _worker.update(scoring=scoring, model=model, count=count, number=number)


def _work(numbers: list[int]) -> None:
    scoring: Scoring = _worker["scoring"]
    if "classifier" not in _worker:
        _worker.update(classifier=_loaded(scoring), rows=scoring.info.scored_rows())
    scoring.score_blocks(_worker["classifier"], _worker["rows"], numbers)


def _loaded(scoring: Scoring) -> Classifier:
    checkpoint, kind, dtype = _worker["model"]
    if kind == "cpu":
        torch.set_num_threads(max(torch.get_num_threads() // _worker["count"], 1))
    gpus = device_count(kind)
    device = f"{kind}:{_worker['number'] % gpus}" if gpus > 1 else kind
    classifier = load_classifier(checkpoint, device=device, dtype=dtype)
    fit_classes(classifier, scoring.info.label_space, scoring.classes.tolist())
    return classifier
