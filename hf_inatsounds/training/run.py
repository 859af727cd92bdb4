"""One training run, from a recipe to a run folder: what ``train`` and ``train/finetune.py`` start."""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from huggingface_hub.errors import StrictDataclassError
from transformers import TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import get_last_checkpoint

from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation
from hf_inatsounds.errors import RecipeError, ScoresError
from hf_inatsounds.evaluation import TRAIN_FILE, SplitInfo, environment, metrics_of, score_split, split_info
from hf_inatsounds.files import write_json, write_text
from hf_inatsounds.models import Classifier, build_classifier, minimum_samples
from hf_inatsounds.objectives import objective_for
from hf_inatsounds.reports import training_report
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.training.arguments import Recipe, recipe_yaml
from hf_inatsounds.training.course import Course
from hf_inatsounds.training.stream import CropCollator, RecordingList, RecordingStream
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.windows import WindowSpec

RECIPE_FILE, REPORT_FILE, CHECKPOINTS = "recipe.yaml", "report.md", "checkpoints"


def train(recipe: Recipe, *, resume: bool = False, quiet: bool = False) -> dict[str, Any]:
    """Train what ``recipe`` says, into ``recipe.out``: a native checkpoint with its reports.

    Works in one process and, started by ``accelerate launch`` or torchrun, in many.

    Args:
        recipe: the run.
        resume: go on from the run folder's last checkpoint.
        quiet: no progress.

    Returns:
        What ``train.json`` holds.

    Raises:
        InatSoundsError: for whatever is wrong with the recipe, the source or the checkpoint.
    """
    out = Path(recipe.out)
    if (out / TRAIN_FILE).exists():
        raise RecipeError("the run folder holds a finished run", where=out, fix="Choose another --out, or delete it.")
    began = time.monotonic()
    state = PartialState(cpu=not torch.cuda.is_available())
    set_seed(recipe.seed)
    info = split_info(recipe.source, recipe.name, recipe.train_split, recipe.index)
    validation = None
    if recipe.validation_split != "none":
        validation = split_info(recipe.source, recipe.name, recipe.validation_split, recipe.index)
    with _refusals_named():
        classifier = build_classifier(
            recipe.model,
            info.label_space,
            objective_for(recipe.objective, label_smoothing=recipe.label_smoothing),
            window=WindowSpec(recipe.window_s, recipe.stride_s),
            config=recipe.config,
            feature_extractor=recipe.feature_extractor,
        )
    course = Course(recipe.evaluate_every_epochs, quiet=quiet or not state.is_main_process)
    with _refusals_named():
        trainer = _trainer(recipe, classifier, info, validation, state)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(course)
    trainer.train(resume_from_checkpoint=_last(out) if resume else None)
    trainer.defects.add(gather_object(list(trainer.defects.seen.values())))
    run = _summary(recipe, info, trainer, course, state) | {"seconds": round(time.monotonic() - began, 1)}
    if state.is_main_process:
        _finish(out, classifier, recipe, run)
    state.wait_for_everyone()
    return {**run, "main_process": state.is_main_process}


@contextlib.contextmanager
def _refusals_named() -> Iterator[None]:
    """What transformers refuses while a run is set up (a schedule, a tracker, a config) is a recipe's mistake."""
    try:
        yield
    except (ValueError, TypeError, ImportError, RuntimeError, StrictDataclassError) as error:
        raise RecipeError("transformers refuses the recipe", found=f"{type(error).__name__}: {error}") from error


def _summary(
    recipe: Recipe, info: SplitInfo, trainer: CropTrainer, course: Course, state: PartialState
) -> dict[str, Any]:
    """What ``train.json`` holds, but for the time it took."""
    return {
        "model": recipe.model,
        "parameters": sum(weights.numel() for weights in trainer.classifier.model.parameters()),
        "objective": recipe.objective,
        "seed": recipe.seed,
        "dataset": {"title": info.title, "name": info.name, "split": info.split, "classes": len(info.label_space)},
        "recordings": len(info.labels),
        "hours": info.hours,
        "processes": state.num_processes,
        "epochs": round(trainer.state.epoch or 0, 2),
        "steps": trainer.state.global_step,
        "best": max(course.history, key=lambda entry: entry["map"], default=None),
        "history": course.history,
        "defects": trainer.defects.report(),
        "environment": environment(),
    }


def _trainer(
    recipe: Recipe, classifier: Classifier, info: SplitInfo, validation: SplitInfo | None, state: PartialState
) -> CropTrainer:
    collator = CropCollator(
        size_s=recipe.window_s,
        sampling_rate=classifier.sampling_rate,
        augmentation=WaveformAugmentation(recipe.gain_db, recipe.noise, recipe.pitch, recipe.shorten),
        minimum_samples=minimum_samples(classifier.model.config),
        seed=recipe.seed,
    )
    augmentation = BatchAugmentation(
        recipe.frequency_masks,
        recipe.frequency_mask_bins,
        recipe.time_masks,
        recipe.time_mask_frames,
        recipe.mixup,
        recipe.mixup_alpha,
    )
    rows: RecordingList | RecordingStream
    if recipe.streaming:
        rows = RecordingStream(info.rows(), len(info.labels), shuffle_buffer=recipe.shuffle_buffer, seed=recipe.seed)
    else:
        with state.main_process_first():  # the first prepares the Arrow files, the others find them
            rows = RecordingList(info.rows(streaming=False))
    return CropTrainer(
        classifier,
        _arguments(recipe, len(info.labels), state, validate=validation is not None),
        rows,
        collator,
        augmentation,
        _validator(recipe, classifier, validation, state),
        max_unusable_share=recipe.max_unusable_share,
    )


def _arguments(recipe: Recipe, n_recordings: int, state: PartialState, *, validate: bool) -> TrainingArguments:
    batches = math.ceil(n_recordings / (recipe.batch_size * state.num_processes))
    steps = recipe.max_steps or math.ceil(batches / recipe.gradient_accumulation_steps) * recipe.epochs
    on_cpu = state.device.type == "cpu"
    return TrainingArguments(
        output_dir=str(Path(recipe.out) / CHECKPOINTS),
        per_device_train_batch_size=recipe.batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        num_train_epochs=recipe.epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.scheduler,
        warmup_steps=round(recipe.warmup_share * steps),
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        adam_beta2=0.98,
        bf16=recipe.bf16,
        eval_strategy="epoch" if validate else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=validate,
        metric_for_best_model="map" if validate else None,
        greater_is_better=True if validate else None,
        logging_steps=max(min(batches, steps, 50), 1),
        dataloader_num_workers=recipe.workers,
        dataloader_pin_memory=not on_cpu,
        # each process reads rows and decodes its own; nothing but tensors could be dispatched by the first
        accelerator_config={"dispatch_batches": False, "split_batches": False},
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,
        use_cpu=on_cpu,
        seed=recipe.seed,
        report_to=recipe.report_to,
        disable_tqdm=True,
    )


def _validator(
    recipe: Recipe, classifier: Classifier, validation: SplitInfo | None, state: PartialState
) -> Callable[[], dict[str, float]]:
    """Scores the validation split, each process its part, and gives every process the same metrics."""

    def validate() -> dict[str, float]:
        if validation is None:
            raise RecipeError("no validation split", where="validation_split", found="none")
        scores, _ = score_split(
            classifier,
            validation,
            classifier.window,
            batch_size=recipe.eval_batch_size,
            quiet=True,
            part=(state.process_index, state.num_processes),
        )
        classifier.model.train()
        parts = [part for part in gather_object([scores]) if part is not None]
        if not parts:
            raise ScoresError("nothing was scored", where="validation")
        metrics = metrics_of(FileScores.merge(parts), validation.label_space)["mean"]
        return {key: metrics[key] for key in ("map", "f1_max", "roc_auc", "top1", "top5", "top1_class_average")}

    return validate


def _last(out: Path) -> str:
    folder = out / CHECKPOINTS
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if last is None:
        raise RecipeError("nothing to resume", where=folder, expected="a checkpoint", fix="Train without --resume.")
    return str(last)


def _finish(out: Path, classifier: Classifier, recipe: Recipe, run: dict[str, Any]) -> None:
    """The run folder; ``train.json``, which tells that it is whole, is written last."""
    classifier.save(out)
    write_text(out / RECIPE_FILE, recipe_yaml(recipe))
    write_text(out / REPORT_FILE, training_report(run))
    write_json(out / TRAIN_FILE, run)
    shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
