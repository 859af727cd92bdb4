"""One training run, from a recipe to a run folder: what ``train`` and ``train/finetune.py`` start."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import get_last_checkpoint

from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation
from hf_inatsounds.errors import RecipeError, ScoresError
from hf_inatsounds.evaluation import TRAIN_FILE, SplitInfo, environment, metrics_of, score_split, split_info
from hf_inatsounds.files import write_json, write_text
from hf_inatsounds.models import Classifier, build_classifier, minimum_samples
from hf_inatsounds.objectives import objective_for
from hf_inatsounds.progress import Bar
from hf_inatsounds.reports import training_report
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.training.arguments import Recipe, recipe_yaml
from hf_inatsounds.training.stream import CropCollator, RecordingList, RecordingStream
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.windows import WindowSpec

RECIPE_FILE, REPORT_FILE, CHECKPOINTS = "recipe.yaml", "report.md", "checkpoints"


class _Course(TrainerCallback):
    """Validation every so many epochs and at the end, one line each; a bar on stderr in between."""

    def __init__(self, every: int, epochs: int, *, quiet: bool) -> None:
        self.every, self.epochs = every, epochs
        self.bar = Bar("training", quiet=quiet)
        self.loss = math.nan
        self.history: list[dict[str, float]] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.start(state.max_steps, state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step, f"loss {self.loss:.3f}")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = round(state.epoch or 0)
        due = epoch % self.every == 0 or state.global_step >= state.max_steps
        control.should_evaluate = control.should_evaluate and due
        control.should_save = control.should_save and due

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.loss = (logs or {}).get("loss", self.loss)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        entry = {"epoch": round(state.epoch or 0, 2), "step": state.global_step, "loss": self.loss}
        self.history.append(entry | {key.removeprefix("eval_"): value for key, value in metrics.items()})
        self.bar.say(
            f"epoch {entry['epoch']:g}: loss {self.loss:.3f}, validation mAP {metrics['eval_map']:.3f}, "
            f"top-1 {metrics['eval_top1']:.3f}"
        )

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.close()


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
    window = WindowSpec(recipe.window_s, recipe.stride_s)
    objective = objective_for(recipe.objective, label_smoothing=recipe.label_smoothing)
    classifier = build_classifier(
        recipe.model,
        info.label_space,
        objective,
        window=window,
        config=recipe.config,
        feature_extractor=recipe.feature_extractor,
    )
    course = _Course(recipe.evaluate_every_epochs, recipe.epochs, quiet=quiet or not state.is_main_process)
    trainer = _trainer(recipe, classifier, info, validation, state)
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(course)
    trainer.train(resume_from_checkpoint=_last(out) if resume else None)
    trainer.defects.add(gather_object(list(trainer.defects.seen.values())))
    run = {
        "model": recipe.model,
        "parameters": sum(weights.numel() for weights in classifier.model.parameters()),
        "objective": recipe.objective,
        "seed": recipe.seed,
        "dataset": {"title": info.title, "name": info.name, "split": info.split, "classes": len(info.label_space)},
        "recordings": len(info.labels),
        "hours": info.hours,
        "processes": state.num_processes,
        "epochs": round(trainer.state.epoch or 0, 2),
        "steps": trainer.state.global_step,
        "seconds": round(time.monotonic() - began, 1),
        "best": _best(course.history),
        "history": course.history,
        "defects": trainer.defects.report(),
        "environment": environment(),
    }
    if state.is_main_process:
        _finish(out, classifier, recipe, run)
    state.wait_for_everyone()
    return {**run, "main_process": state.is_main_process}


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


def _best(history: list[dict[str, float]]) -> dict[str, float] | None:
    return max(history, key=lambda entry: entry["map"], default=None)


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
