"""transformers' Trainer with the frontend on the device and validation by the paper's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainingArguments
from typing_extensions import override

from hf_inatsounds.audio.defects import DefectLog
from hf_inatsounds.augmentation import BatchAugmentation
from hf_inatsounds.errors import AudioError, RecipeError, TrainingError
from hf_inatsounds.frontends.resampling import Resample
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.runtime.devices import frontend_device
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.training.averaging import WeightAverage
from hf_inatsounds.training.batches import GlobalBatches, crop_loader
from hf_inatsounds.training.checkpoints import last_checkpoint
from hf_inatsounds.training.crops import CropCollator
from hf_inatsounds.training.learning import Schedule, optimizer_groups, optimizer_of
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.resuming import ResumableTrainer

ENOUGH = 100
"""Recordings seen before their share of unusable ones can fail a run in the middle of an epoch."""


class CropTrainer(ResumableTrainer):
    """Trains a classifier on crops.

    The loss of an optimiser step is the mean over its recordings, whatever number of processes and forward
    passes they are divided among.

    Args:
        recipe: the run.
        classifier: model, frontend and objective.
        arguments: transformers' own.
        batches: which recordings, when.
        collator: decodes crops.
        augmentation: of a batch, on the device.
        validate: called at each evaluation; returns metrics by name.
        processes: that train together.
    """

    control: Any  # set by the base class
    optimizer: Any
    lr_scheduler: Any
    loss_is_scaled_for_ga = True  # by compute_loss

    def __init__(
        self,
        recipe: Recipe,
        classifier: Classifier,
        arguments: TrainingArguments,
        batches: GlobalBatches,
        collator: CropCollator,
        augmentation: BatchAugmentation,
        validate: Callable[[], dict[str, float]],
        processes: Launched,
    ) -> None:
        is_sgd = recipe.training.optim == "sgd"
        sgd = optimizer_of(recipe, arguments, classifier.model) if is_sgd else None
        super().__init__(
            model=classifier.model,
            args=arguments,
            train_dataset=batches.rows,  # get_train_dataloader() below is what reads it
            eval_dataset=[],  # the Trainer insists on one; evaluate() below does not look at it
            data_collator=collator,
            optimizer_cls_and_kwargs=sgd,
        )
        self.model_accepts_loss_kwargs = True  # in older versions what loss_is_scaled_for_ga says
        self.recipe = recipe
        self.classifier = classifier
        self.batches = batches
        self.collator = collator
        self.augmentation = augmentation
        self.validate = validate
        self.processes = processes
        # of a model that FSDP is to divide a whole copy is scored and saved: processes score unequal numbers of windows
        self.whole = replace(classifier, model=deepcopy(classifier.model)) if self.is_fsdp_enabled else classifier
        if self.is_fsdp_enabled and recipe.training.ema_decay:
            raise RecipeError(
                "no moving average of divided weights", where="ema_decay", found=recipe.training.ema_decay
            )
        self.average = WeightAverage(self.model, recipe.training.ema_decay) if recipe.training.ema_decay else None
        self.defects = DefectLog()
        self._unusable = 0
        self.waited_s = 0.0
        self.add_callback(_UnusableShare(self))
        self.at_waveforms = frontend_device(arguments.device)
        classifier.frontend.to(self.at_waveforms)
        self.resample = Resample(collator.sampling_rate, classifier.sampling_rate).to(self.at_waveforms)

    def get_train_dataloader(self) -> Any:
        """The process's own batches; not accelerate's, whose processes repeat recordings to fill the last one."""
        args = self.args
        return crop_loader(
            self.batches,
            self.collator,
            workers=args.dataloader_num_workers,
            pin_memory=args.dataloader_pin_memory and args.device.type in ("cuda", "xpu"),
            prefetch_factor=args.dataloader_prefetch_factor,
            multiprocessing_context=getattr(args, "dataloader_multiprocessing_context", None),
        )

    def get_batch_samples(self, epoch_iterator: Iterator[Any], num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The next optimiser step's batches, and how many recordings count in those of all processes."""
        began = time.monotonic()
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        self.waited_s += time.monotonic() - began
        counted = sum((batch["weights"].sum() for batch in batches), torch.zeros(()))
        step = self.state.global_step + 1
        told = torch.tensor(float(self.interruption.number > 0))
        both = torch.stack([counted, told])
        counted, told = self.processes.total(both, f"the recordings of step {step}")  # however long a source keeps one
        if told > 0:  # the same on all processes: each saves after this step
            self.interruption.agree()
        self.processes.waits_for = f"the gradients of step {step}"
        return batches, counted.to(device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Waveforms, at the model's rate → frontend → augmentation → model → objective."""
        self._note(inputs["inspections"])
        frontend, objective, weights = self.classifier.frontend, self.classifier.objective, inputs["weights"]
        # λ is one per step, as it is one per batch for the authors; all else is drawn from the crops' own keys. So
        # a run resumes exactly, and nothing depends on how a batch is divided, but for who is whose partner in mixup.
        generator = np.random.default_rng([self.args.seed, self.state.global_step])
        targets = objective.targets(inputs["labels"], self.classifier.model.config.num_labels)
        keys, here = inputs["keys"], self.at_waveforms
        waveforms, lengths = self.resample(inputs["waveforms"].to(here), inputs["lengths"].to(here))
        waveforms, lengths, targets = self.augmentation.mix_waveforms(
            waveforms, lengths, targets.to(here), objective, generator, weights=weights.to(here), keys=keys
        )
        features = {name: one.to(weights.device) for name, one in frontend.model_inputs(waveforms, lengths).items()}
        features, targets = self.augmentation(
            features,
            targets.to(weights.device),
            objective,
            generator,
            layout=frontend.layout,
            weights=weights,
            keys=keys,
        )
        outputs = model(**features)
        loss = objective.loss(outputs.logits, targets, weights)
        if num_items_in_batch is not None:  # from the mean over this pass to its share in the whole step's mean;
            total = num_items_in_batch.to(loss.device).clamp_min(1.0)  # the processes' gradients are averaged
            loss = loss * (weights.sum().clamp_min(1.0) * self.args.world_size / total)
        if not torch.isfinite(loss):
            raise self._no_number("the loss is not finite", float(loss.detach()), inputs["inspections"])
        return (loss, outputs) if return_outputs else loss

    def _clip_grad_norm(self, model: Any) -> Any:
        norm = super()._clip_grad_norm(model)
        if not self.args.fp16 and norm is not None and not np.isfinite(float(norm)):  # fp16's scaler passes over those
            raise self._no_number("the gradient is not finite", float(norm), [])
        return norm

    def _no_number(self, what: str, found: float, inspections: list[Any]) -> TrainingError:
        names = ", ".join(f"{one.recording_id} ({one.file_name})" for one in inspections)
        last = last_checkpoint(Path(self.args.output_dir).parent)
        return TrainingError(
            what,
            where=f"step {self.state.global_step + 1}" + (f", recordings {names}" if names else ""),
            found=found,
            fix=f"Last good checkpoint: {last or 'none yet'}; a lower learning_rate or max_grad_norm may help.",
        )

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's, on groups of our own where layers learn at different rates."""
        groups = optimizer_groups(self.recipe, model or self.model)
        if self.optimizer is None and groups is not None:
            kind, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = kind(groups, **options)
        return super().create_optimizer(model)

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The recipe's schedule: ours where it begins or ends above zero, transformers' otherwise."""
        shares = (self.recipe.training.warmup_start_share, self.recipe.training.min_learning_rate_share)
        if self.lr_scheduler is None and any(shares):
            warmup = self.args.get_warmup_steps(num_training_steps)
            schedule = Schedule(self.recipe.training.lr_scheduler_type, warmup, num_training_steps, *shares)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, schedule)
            self._created_lr_scheduler = True
        return super().create_scheduler(num_training_steps, optimizer)

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """The paper's protocol on the validation split, in place of a loss on crops."""
        self.gather()
        with self.ends_at_once(), self.averaged():
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validate().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _note(self, inspections: list[Any]) -> None:
        self._unusable += sum(not one.usable for one in inspections if one.recording_id not in self.defects.seen)
        self.defects.add(inspections)
        self._check_usable(len(self.defects.seen), self._unusable, ENOUGH)

    def check_usable(self) -> None:
        """At an epoch's end: whether too many of all processes' recordings cannot be decoded, however few there are.

        Of a run that was resumed late in an epoch too few may have been seen to tell.
        """
        counts = self.processes.gather((len(self.defects.seen), self._unusable), "the end of the epoch")
        seen, unusable = (sum(column) for column in zip(*counts, strict=True))
        self._check_usable(seen, unusable, seen if seen == unusable else min(ENOUGH, self.batches.n_recordings // 2))

    def _check_usable(self, seen: int, unusable: int, enough: int) -> None:
        if seen >= enough and unusable > self.recipe.data.max_unusable_share * seen:
            first = next(
                (one.file_name for one in self.defects.seen.values() if not one.usable), "another process's part"
            )
            raise AudioError(
                "too many recordings cannot be decoded",
                where=first,
                found=f"{unusable} of the first {seen}",
                expected=f"at most {self.recipe.data.max_unusable_share:.0%} (max_unusable_share)",
                fix="Check the archive's md5, or raise max_unusable_share.",
            )


class _UnusableShare(TrainerCallback):
    """Looks at the share of unusable recordings when an epoch ends."""

    def __init__(self, trainer: CropTrainer) -> None:
        self.trainer = trainer

    @override
    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.check_usable()
