"""transformers' Trainer with the frontend on the device and validation by the paper's protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from transformers import Trainer, TrainingArguments

from hf_inatsounds.augmentation import BatchAugmentation
from hf_inatsounds.defects import DefectLog
from hf_inatsounds.errors import AudioError
from hf_inatsounds.models import Classifier
from hf_inatsounds.training.stream import CropCollator

ENOUGH = 100
"""Recordings seen before their share of unusable ones can fail a run."""


class CropTrainer(Trainer):
    """Trains a classifier on crops.

    Args:
        classifier: model, frontend and objective.
        arguments: transformers' own.
        train_rows: a ``RecordingList`` or ``RecordingStream``.
        collator: decodes crops.
        augmentation: of a batch, on the device.
        validate: called at each evaluation; returns metrics by name.
        max_unusable_share: fail when more recordings than this share cannot be decoded.
    """

    control: Any  # set by the base class
    loss_is_scaled_for_ga = False  # the loss is a mean over the batch; the Trainer divides it by the accumulation

    def __init__(
        self,
        classifier: Classifier,
        arguments: TrainingArguments,
        train_rows: Any,
        collator: CropCollator,
        augmentation: BatchAugmentation,
        validate: Callable[[], dict[str, float]],
        *,
        max_unusable_share: float,
    ) -> None:
        super().__init__(
            model=classifier.model,
            args=arguments,
            train_dataset=train_rows,
            eval_dataset=[],  # the Trainer insists on one; evaluate() below does not look at it
            data_collator=collator,
        )
        self.model_accepts_loss_kwargs = False
        self.classifier = classifier
        self.augmentation = augmentation
        self.validate = validate
        self.max_unusable_share = max_unusable_share
        self.defects = DefectLog()
        self._forward_pass = (-1, 0)  # optimiser step, and how many forward passes it had before
        classifier.frontend.to(arguments.device)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Waveforms → frontend → augmentation → model → objective."""
        self._note(inputs["inspections"])
        frontend, objective = self.classifier.frontend, self.classifier.objective
        generator = self._generator()
        features = frontend.model_inputs(inputs["waveforms"], inputs["lengths"])
        targets = objective.targets(inputs["labels"], self.classifier.model.config.num_labels)
        features, targets = self.augmentation(features, targets, objective, generator)
        outputs = model(**features)
        loss = objective.loss(outputs.logits, targets, inputs["weights"])
        return (loss, outputs) if return_outputs else loss

    def _generator(self) -> np.random.Generator:
        """What a batch's augmentation draws from: a function of seed, step, pass and process, so that runs resume."""
        step, before = self._forward_pass
        self._forward_pass = (self.state.global_step, before + 1 if step == self.state.global_step else 0)
        return np.random.default_rng([self.args.seed, *self._forward_pass, self.args.process_index])

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """The paper's protocol on the validation split, in place of a loss on crops."""
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validate().items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self._load_weights(resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self._load_weights(str(self.state.best_model_checkpoint))

    def _load_weights(self, folder: str) -> None:
        """Weights of a checkpoint of this run, by ``from_pretrained``.

        The Trainer would hand the file's keys to ``load_state_dict``; ``save_pretrained`` writes them under
        the Hub's older names, so that of an AST nearly nothing is loaded, with a warning only
        (transformers #48805).
        """
        model = self.classifier.model
        saved = type(model).from_pretrained(folder, config=model.config, use_safetensors=True)
        model.load_state_dict(saved.state_dict())

    def _note(self, inspections: list[Any]) -> None:
        self.defects.add(inspections)
        unusable = [one for one in self.defects.seen.values() if not one.usable]
        if len(self.defects.seen) >= ENOUGH and len(unusable) > self.max_unusable_share * len(self.defects.seen):
            raise AudioError(
                "too many recordings cannot be decoded",
                where=unusable[-1].file_name,
                found=f"{len(unusable)} of the first {len(self.defects.seen)}",
                expected=f"at most {self.max_unusable_share:.0%} (max_unusable_share)",
                fix="Check the archive's md5.",
            )
