"""A model by its name on a split of a source: what ``evaluate`` is, from Python and from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from hf_inatsounds.audio.windows import chosen_window
from hf_inatsounds.data.selection_values import Select
from hf_inatsounds.data.split_info import split_info
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.evaluation.measures import Bootstrap
from hf_inatsounds.evaluation.processes import launched_processes
from hf_inatsounds.evaluation.run import GeoChoice, Scored, evaluate
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.runtime.ranges import whole_number
from hf_inatsounds.schema import SPLITS


def evaluate_model(
    model: str | Path,
    source: str | Path = "official",
    split: str = "test",
    *,
    name: str = "all",
    index: str | Path | None = None,
    select: Select = None,
    out: str | Path | None = None,
    window_s: float | None = None,
    stride_s: float | None = None,
    batch_size: int = 32,
    classes: Scored = "present",
    processes: int = 1,
    geo: GeoChoice | None = None,
    resamples: int = 200,
    seed: int = 0,
    rescore: bool = False,
    revision: str | None = None,
    subfolder: str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    quiet: bool = False,
) -> dict[str, Any]:
    """Score a split by the paper's protocol, and write scores and ``results.json``.

    Args:
        model: run folder, checkpoint or Hub model id.
        source: where the dataset is, as ``load_dataset`` takes it.
        split: "train", "validation" or "test".
        name: part of the dataset: "all", a supercategory or "evaluation".
        index: where the archives' seek indexes are, as ``load_dataset`` takes it.
        select: which recordings, as ``load_dataset`` takes it.
        out: folder of the results; None for one in the run folder, or, for a Hub model, here.
        window_s: length of windows, in seconds; None for the checkpoint's.
        stride_s: time from one window to the next, in seconds; None for the checkpoint's share of overlap.
        batch_size: windows per forward pass.
        classes: that take part: those "present" in the split, those "evaluated" in the paper, or "all".
        processes: that score side by side, each on a GPU of its own where there are some.
        geo: a range prior to report with and without.
        resamples: of the bootstrap intervals.
        seed: of the bootstrap.
        rescore: score again where ``out`` holds the same scores.
        revision: branch, tag or commit of a Hub model.
        subfolder: where in the folder or repository the checkpoint is.
        device: as ``load_classifier`` takes it.
        dtype: as ``load_classifier`` takes it.
        quiet: no progress.

    Returns:
        What ``results.json`` holds: ``["metrics"]["mean"]["map"]`` is the mAP of scores pooled by their mean. Nothing
        in a process that ``accelerate launch`` started and that is not the main one.

    Raises:
        InatSoundsError: checkpoint, dataset or prior are missing or do not fit.
    """
    _check(classes, split, batch_size, processes, resamples)
    launched = launched_processes(device)  # before a model asks for a GPU: each process has its own
    if launched and processes > 1:
        raise ArgumentsError("processes must be 1 where accelerate starts them", found=processes)
    info = split_info(str(source), name, split, str(index or ""), select)
    classifier = load_classifier(model, revision=revision, subfolder=subfolder, device=device, dtype=dtype)
    return evaluate(
        classifier,
        info,
        Path(out) if out else default_out(str(model), split),
        window=chosen_window(classifier.window, window_s, stride_s),
        checkpoint=str(model),
        batch_size=batch_size,
        scored=classes,
        processes=processes,
        launched=launched,
        geo=geo,
        bootstrap=Bootstrap(resamples, seed),
        rescore=rescore,
        quiet=quiet,
    )


def _check(classes: str, split: str, batch_size: int, processes: int, resamples: int) -> None:
    for name, value, known in (("classes", classes, get_args(Scored)), ("split", split, SPLITS)):
        if value not in known:
            raise ArgumentsError(f"{name} must be {', '.join(known[:-1])} or {known[-1]}, got {value!r}")
    whole_number("batch_size", batch_size, 1)
    whole_number("processes", processes, 1)
    whole_number("resamples", resamples, 1)


def default_out(model: str, split: str) -> Path:
    """Folder of the results where none is given: in the run folder; for a Hub model here.

    A folder of a Hub model's own name would be taken for the model the next time.

    >>> str(default_out("owner/model", "test"))
    'model-evaluation-test'
    """
    name = f"evaluation-{split}"
    return Path(model) / name if Path(model).is_dir() else Path(f"{Path(model).name}-{name}")
