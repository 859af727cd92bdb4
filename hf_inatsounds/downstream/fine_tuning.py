"""Full fine-tuning on a fold: the fold becomes an unpacked source in iNatSounds' layout, which ``train`` takes."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.downstream.clips import Clip, Fold, Task
from hf_inatsounds.downstream.probes import held_out
from hf_inatsounds.errors import SuiteError
from hf_inatsounds.files import write_json
from hf_inatsounds.models.from_preset import PRESETS
from hf_inatsounds.schema import RANKS
from hf_inatsounds.training.arguments import changed, make_recipe, read_recipe
from hf_inatsounds.training.recipe import Recipe, read_mapping

Array = np.ndarray[Any, np.dtype[Any]]

DEFAULTS: dict[str, Any] = {
    "num_train_epochs": 30,
    "per_device_train_batch_size": 16,
    "label_smoothing_factor": 0.1,
    "gain_db": 6.0,
    "noise": 0.3,
    "frequency_masks": 2,
    "frequency_mask_bins": 6,
    "time_masks": 2,
    "time_mask_frames": 40,
    "mixup": 0.5,
    "mixup_alpha": 0.4,
}
"""Recipe without ``--recipe``: short, for two CPU cores."""

SMALL_PARAMETERS = 5_000_000
LEARNING_RATES = (1e-3, 5e-5)
"""Without ``--recipe``: of models below and above ``SMALL_PARAMETERS``; a large one would forget at the small one's."""


def fine_tuning_recipe(
    model: str,
    policy_multilabel: bool,
    *,
    recipe: str | Path | None,
    window: WindowSpec | None,
    parameters: int,
    seed: int,
    revision: str = "",
    subfolder: str = "",
) -> Recipe:
    """The recipe of every fold, but for ``source`` and ``output_dir``.

    Args:
        model: checkpoint or preset that is fine-tuned.
        policy_multilabel: whether clips have any number of labels; the objective follows.
        recipe: YAML file; None for ``DEFAULTS``.
        window: the checkpoint's, taken where the recipe says nothing.
        parameters: of the model; without a recipe the learning rate depends on it.
        seed: of the training, where the recipe says nothing.
        revision: of a Hub model.
        subfolder: of the checkpoint.

    Raises:
        RecipeError: as :func:`read_recipe`.
    """
    forced: dict[str, Any] = {
        "model": model,
        "revision": revision,
        "subfolder": subfolder,
        "name": "all",
        "train_split": "train",
        "index": "",
    }
    if policy_multilabel:
        forced |= {"objective": "multilabel", "label_smoothing_factor": 0.0}
    rate = LEARNING_RATES[int(parameters > SMALL_PARAMETERS)]
    given: dict[str, Any] = {**DEFAULTS, "learning_rate": rate, "validation_split": "none"}
    if recipe is not None:
        read_recipe(recipe, forced)  # names the file in every complaint
        given = {"validation_split": "none", **read_mapping(recipe)}
    if "window_s" not in given and window is not None:
        given |= {"window_s": window.size_s, "stride_s": window.stride_s}
    return make_recipe({"seed": seed, **given, **forced}, where=str(recipe or "the default recipe"))


def is_preset(model: str) -> bool:
    """Whether ``model`` is a preset, which starts from random weights."""
    return model in PRESETS


def fine_tune(task: Task, fold: Fold, recipe: Recipe, work: Path, *, quiet: bool) -> tuple[Path, dict[str, Any]]:
    """Train on a fold.

    Args:
        task: the task.
        fold: what is trained on.
        recipe: how; its ``source`` and ``output_dir`` are replaced.
        work: folder of the source and the run; an interrupted run in it is gone on with.
        quiet: no progress.

    Returns:
        The run folder, and what is worth telling of the training.

    Raises:
        SuiteError: where training clips have several labels, or none.
    """
    from hf_inatsounds.evaluation import TRAIN_FILE
    from hf_inatsounds.training.run import train

    source, out = work / "source", work / "run"
    if not (source / "val.json").exists():
        write_source(task, fold, source, hold_out=recipe.is_validated, seed=recipe.training.seed)
    if (out / TRAIN_FILE).exists():
        run = json.loads((out / TRAIN_FILE).read_text(encoding="utf-8"))
    else:
        # transformers takes a half-written checkpoint for one: only a complete one is gone on with
        resume = any((out / "checkpoints").glob("checkpoint-*/trainer_state.json"))
        if not resume:
            shutil.rmtree(out, ignore_errors=True)
        with _datasets_cache(work / "arrow"):
            run = train(changed(recipe, source=str(source), output_dir=str(out)), resume=resume, quiet=quiet)
    return out, {key: run[key] for key in ("parameters", "epochs", "steps", "seconds", "best", "validation")}


def write_source(task: Task, fold: Fold, folder: Path, *, hold_out: bool, seed: int) -> None:
    """A fold's training clips as an unpacked source: ``train``, and ``val``, which never is of the test part.

    ``val`` holds the fold's validation part; without one and with ``hold_out`` (a recipe that has a validation split
    choose the checkpoint) a fifth of the training recordings, which are then not trained on. The annotations are
    written last, so that a source with ``val.json`` is whole.
    """
    train = task.indices(fold.train)
    counts = np.array([len(task.clips[i].labels) for i in train])
    if (counts != 1).any():
        raise SuiteError(
            "fine-tuning takes one label a clip", where=f"{task.name}, fold {fold.name}",
            found=f"{int((counts > 1).sum())} training clips with several and {int((counts == 0).sum())} with none",
        )  # fmt: skip
    validation = task.indices(fold.validation)
    validation = validation[[len(task.clips[i].labels) == 1 for i in validation]] if len(validation) else validation
    if not len(validation):
        out = held_out(task.recordings(train), seed) if hold_out else np.zeros(len(train), np.bool_)
        validation, train = (train[out], train[~out]) if out.any() else (train[:1], train)
    shutil.rmtree(folder, ignore_errors=True)
    documents = [_document(task, part, stem, folder) for part, stem in ((train, "train"), (validation, "val"))]
    for document, stem in zip(documents, ("train", "val"), strict=True):
        write_json(folder / f"{stem}.json", document)


def _document(task: Task, indices: Array, stem: str, folder: Path) -> dict[str, Any]:
    """Write a split's recordings; return its annotations."""
    audio = []
    for i in indices:
        clip = task.clips[i]
        name = f"{stem}/{clip.labels[0]:05d}_{_safe(task.classes[clip.labels[0]])}/{i:08d}.wav"
        duration_s = _write_wav(clip, folder / name)
        audio.append(
            {
                "id": int(i), "duration": duration_s, "file_name": name, "license": None, "rights_holder": "",
                "date": "", "latitude": None, "longitude": None, "location_uncertainty": None,
            }
        )  # fmt: skip
    return {
        "info": {"description": f"{task.name}, a training part"},
        "audio": audio,
        "categories": [_category(label, name) for label, name in enumerate(task.classes)],
        "annotations": [
            {"id": int(i), "audio_id": int(i), "category_id": task.clips[i].labels[0]} for i in indices
        ],
        "licenses": [],
    }  # fmt: skip


def _category(label: int, name: str) -> dict[str, Any]:
    return {
        "id": label, "name": name, "common_name": "", "supercategory": "class", **dict.fromkeys(RANKS, "none"),
        "specific_epithet": name, "audio_dir_name": f"{label:05d}_{_safe(name)}", "evaluation": 1,
    }  # fmt: skip


def _write_wav(clip: Clip, path: Path) -> float:
    with clip.open() as recording:
        rate = recording.info.sampling_rate
        samples = clip.waveform(recording, rate)
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, np.clip(samples, -1.0, 1.0), rate, subtype="PCM_16")
    return len(samples) / rate


def _safe(name: str) -> str:
    """A class's name as part of a folder's.

    >>> _safe("Beluga, White/Whale")
    'Beluga_White_Whale'
    """
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_") or "class"


@contextlib.contextmanager
def _datasets_cache(folder: Path) -> Iterator[None]:
    """Prepared Arrow files go beside the run, not into the user's cache, where nobody would ever ask for them."""
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = folder
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before
