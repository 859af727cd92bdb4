"""From a recipe to what trains: classifier, batches, and transformers' arguments."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any, cast

from transformers import set_seed

from hf_inatsounds.augmentation import BatchAugmentation
from hf_inatsounds.data.rows import ForwardRows, say_read_by_each
from hf_inatsounds.data.selection_values import without_draw
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import SplitInfo, split_info
from hf_inatsounds.models.classifier import Classifier, build_classifier
from hf_inatsounds.models.input_length import minimum_samples
from hf_inatsounds.runtime.devices import DTYPES
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.training.batches import GlobalBatches, Part
from hf_inatsounds.training.checkpoints import CHECKPOINTS
from hf_inatsounds.training.checks import ON_METRICS
from hf_inatsounds.training.crops import CropChoice, CropCollator, RecordingList, RecordingStream
from hf_inatsounds.training.interruption import refusals_named
from hf_inatsounds.training.learning import (
    batch_augmentation,
    check_precision,
    check_sampling,
    crop_rate,
    precision_name,
    recipe_objective,
    restrict,
    start_of,
    waveform_augmentation,
)
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.rehearsal import rehearse
from hf_inatsounds.training.run_arguments import RunArguments
from hf_inatsounds.training.side_by_side import has_own_batch_norms, leaves_parameters_out, share_batch_norms
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.training.validation import NeighbourValidator, Validator, open_rows


@dataclass
class Setup:
    """All that a run needs.

    Attributes:
        recipe: the run.
        state: of the processes.
        info: the split that is trained on.
        validation: the split that is validated on; None for none.
        classifier: what is trained.
        step_recordings: of all processes in an optimiser step, which a resumed run keeps; 0 for what the recipe says.
        began: when it was made, by the monotonic clock, in seconds.
    """

    recipe: Recipe
    state: Launched
    info: SplitInfo
    validation: SplitInfo | None
    classifier: Classifier
    step_recordings: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def splits(self) -> list[SplitInfo]:
        """The splits that are read."""
        return [self.info, *([self.validation] if self.validation else [])]

    @property
    def part(self) -> Part:
        """Which part of each batch is the process's own."""
        run, n = self.recipe.training, self.state.num_processes
        rows = run.per_device_train_batch_size // self.recipe.data.crops_per_recording
        step = self.step_recordings or rows * n * run.gradient_accumulation_steps
        return Part(rows, self.state.process_index, n, step)

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(len(self.info.labels) / self.part.step_items)

    @property
    def steps(self) -> int:
        """Optimiser steps of the run."""
        run = self.recipe.training
        return run.max_steps if run.max_steps > 0 else math.ceil(self.steps_an_epoch * run.num_train_epochs)

    def batches(self) -> GlobalBatches:
        """Which recordings make which batch; the rows are prepared if need be."""
        recipe, info = self.recipe, self.info
        rows: RecordingList | RecordingStream
        sampling = recipe.data.sampling
        opened = open_rows(info, streaming=recipe.data.streaming, draws=sampling != "natural")
        say_read_by_each(opened, self.state.num_processes, quiet=not self.state.is_main_process)
        if not isinstance(opened, ForwardRows):
            rows = RecordingList(opened, sampling=sampling, beta=recipe.data.sampling_beta)
        else:
            rows = RecordingStream(
                info.rows(), len(info.labels), shuffle_buffer=recipe.data.shuffle_buffer, seed=recipe.training.seed
            )
        return GlobalBatches(rows, len(rows), self.part, seed=recipe.training.seed)

    @property
    def crop_rate(self) -> int:
        """Rate of the crops that workers make, in Hz."""
        return crop_rate(self.recipe, self.classifier.sampling_rate, self.state.device)

    def collator(self) -> CropCollator:
        """What makes crops of rows."""
        recipe = self.recipe
        return CropCollator(
            size_s=recipe.data.window_s,
            sampling_rate=self.crop_rate,
            augmentation=waveform_augmentation(recipe),
            minimum_samples=math.ceil(
                minimum_samples(self.classifier.model.config) * self.crop_rate / self.classifier.sampling_rate
            ),
            seed=recipe.training.seed,
            crops_per_recording=recipe.data.crops_per_recording,
            crop_choice=cast(CropChoice, recipe.data.crop_choice),
        )

    def augmentation(self) -> BatchAugmentation:
        """What is done to a batch on the device."""
        return batch_augmentation(self.recipe)

    def trainer(self) -> CropTrainer:
        """The Trainer, when all processes have come so far; from here on each draws its own dropout."""
        if self.recipe.training.gradient_checkpointing:
            options = self.recipe.training.gradient_checkpointing_kwargs or {"use_reentrant": False}
            self.classifier.model.gradient_checkpointing_enable(options)
        if self.state.num_processes > 1:
            share_batch_norms(self.classifier.model)
        validator, arguments, collator = self.validator(), training_arguments(self), self.collator()
        rehearse(self.recipe, self.classifier, arguments, self.steps)  # before an hour goes into preparing recordings
        trainer = CropTrainer(
            self.recipe,
            self.classifier,
            arguments,
            self.batches(),
            collator,
            self.augmentation(),
            validator or _no_validation,
            self.state,
        )
        if validator is not None:
            validator.prepare()
        self.state.wait("model and recordings to be ready")
        set_seed((self.recipe.training.seed + 1_000_003 * self.state.process_index) % 2**32)
        return trainer

    def validator(self) -> Validator | None:
        """Scores the validation split; None without one."""
        if self.validation is None:
            return None
        kind = NeighbourValidator if self.recipe.objective.objective == "contrastive" else Validator
        return kind(self.recipe, self.classifier, self.validation, self.state)


def set_up(recipe: Recipe) -> Setup:
    """Read the annotations, build the model.

    Raises:
        InatSoundsError: for whatever is wrong with the recipe, the source or the checkpoint.
    """
    check_sampling(recipe)
    check_precision(recipe)
    began = time.monotonic()
    state = Launched(recipe.model.device, recipe.training.ddp_timeout)
    set_seed(recipe.training.seed)
    info = _split(recipe, recipe.data.train_split)
    validation = None
    if recipe.is_validated:
        validation = _split(recipe, recipe.data.validation_split)
    with refusals_named():
        classifier = build_classifier(
            recipe.model.model,
            info.label_space,
            recipe_objective(recipe, info.label_space, info.labels),
            window=recipe.window,
            config=recipe.model.config,
            feature_extractor=recipe.model.feature_extractor,
            revision=recipe.model.revision or None,
            subfolder=recipe.model.subfolder or None,
        )
        restrict(recipe, classifier.model)
    classifier.dtype = DTYPES[precision_name(recipe)]  # a validation is scored in what is trained in
    return Setup(recipe, state, info, validation, classifier, began=began)


def _split(recipe: Recipe, split: str) -> SplitInfo:
    data = recipe.data
    select = data.select if split == data.train_split else without_draw(data.select)
    return split_info(data.source, data.name, split, data.index, select)


def training_arguments(setup: Setup) -> RunArguments:
    """Transformers' arguments of a recipe, with what follows from its data, its model and the processes."""
    recipe, run, model = setup.recipe, setup.recipe.training, setup.classifier.model
    found = run.begin(
        output_dir=str(recipe.out / CHECKPOINTS),
        per_device_train_batch_size=setup.part.batch_size,
        gradient_accumulation_steps=setup.part.passes,
        warmup_steps=run.warmup_of(setup.steps),
        lr_scheduler_kwargs=_schedule_options(recipe),
        # Setup.trainer() turns it on; the key that newer versions of transformers have in its place is left alone
        gradient_checkpointing=None if hasattr(run, "activation_checkpointing") else False,
        gradient_checkpointing_kwargs=None,
        eval_strategy="epoch" if recipe.is_validated else "no",
        save_strategy="epoch",
        load_best_model_at_end=recipe.is_validated,
        metric_for_best_model="map" if recipe.is_validated else None,
        greater_is_better=True if recipe.is_validated else None,
        logging_steps=run.logging_steps or max(min(setup.steps_an_epoch, setup.steps, 50), 1),
        logging_nan_inf_filter=False,  # compute_loss stops at such a loss
        remove_unused_columns=False,
        ddp_find_unused_parameters=_given(run.ddp_find_unused_parameters, leaves_parameters_out(model)),
        ddp_broadcast_buffers=_given(run.ddp_broadcast_buffers, has_own_batch_norms(model)),  # shared ones are the same
        use_cpu=setup.state.device.type == "cpu",
        report_to=list(recipe.trackers) or "none",
        run_name=run.run_name or recipe.out.name,
        push_to_hub=False,  # the finished run is pushed, not its checkpoints
        trackio_space_id=None,  # nothing goes to the Hub but what push_to_hub says
        disable_tqdm=True,
    )
    _ = found.device  # sets up what follows
    # of several GPUs one: DataParallel would divide batches that are made whole
    found._n_gpu = min(found.n_gpu, 1)
    return found


def _given(value: bool | None, otherwise: bool) -> bool:
    return otherwise if value is None else value


def _schedule_options(recipe: Recipe) -> dict[str, Any] | None:
    """What the schedule takes; one that follows the validation is told that a greater mAP is better."""
    follows: dict[str, Any] = {"mode": "max"} if recipe.training.lr_scheduler_type in ON_METRICS else {}
    return {**follows, **recipe.training.lr_scheduler_kwargs} or None


def _no_validation() -> Any:
    raise RecipeError("no validation split", where="validation_split", found="none")


def summary(setup: Setup) -> dict[str, Any]:
    """What a run is, before it has begun."""
    model, info = setup.classifier.model, setup.info
    return {
        "model": setup.recipe.model.model,
        "start": start_of(setup.classifier),
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "trainable_parameters": sum(weights.numel() for weights in model.parameters() if weights.requires_grad),
        "objective": setup.recipe.objective.objective,
        "seed": setup.recipe.training.seed,
        "dataset": {
            "title": info.title,
            "official": info.official,
            "name": info.name,
            "split": info.split,
            "classes": len(info.label_space),
        },
        "recordings": len(info.labels),
        "hours": info.hours,
        "processes": setup.state.num_processes,
    }
