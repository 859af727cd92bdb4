"""What a run would do, tried out without writing anything."""

from __future__ import annotations

import tempfile
from typing import Any

import torch

from hf_inatsounds.training.arguments import changed
from hf_inatsounds.training.interruption import refusals_named
from hf_inatsounds.training.learning import check_sampling
from hf_inatsounds.training.ownership import Resume
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.run import check_start
from hf_inatsounds.training.setup import set_up, summary


def dry_run(recipe: Recipe, *, resume: Resume = False) -> dict[str, Any]:
    """What a run would do: its recipe, sizes, steps and the first batch's shapes; nothing is written.

    It goes through all that a run goes through before its first step, and through the first batch's loss, so that it
    accepts what a run does.

    The rows of an archive that is not streamed are read as a stream here, since preparing them would write
    Arrow files.
    """
    check_sampling(recipe)
    check_start(recipe, resume)
    with tempfile.TemporaryDirectory() as nowhere, refusals_named():  # transformers makes its folder of checkpoints
        setup = set_up(changed(recipe, streaming=True, sampling="natural", output_dir=nowhere))
        trainer = setup.trainer()
        trainer.batches.set_epoch(0)
        first = [row for row, _ in next(iter(trainer.batches))]
        batch = trainer._prepare_inputs(setup.collator()(first))
        here = trainer.at_waveforms
        resampled = trainer.resample(batch["waveforms"].to(here), batch["lengths"].to(here))
        features = trainer.classifier.inputs(*resampled)
        with torch.no_grad(), trainer.compute_loss_context_manager():
            outputs = trainer.compute_loss(setup.classifier.model.train(), batch, return_outputs=True)[1]
    model = setup.classifier.model
    shapes = {
        "waveforms": batch["waveforms"], "labels": batch["labels"], **features, "logits": outputs.logits,
    }  # fmt: skip
    return {
        **summary(setup),
        "recipe": recipe.values(),
        "architecture": type(model).__name__,
        "weights_bytes": sum(weights.numel() * weights.element_size() for weights in model.parameters()),
        "label_space": {
            "classes": len(setup.info.label_space),
            "with_training_recordings": len(setup.info.present),
            "evaluated": len(setup.info.label_space.evaluated),
            "validated": len(setup.validation.present) if setup.validation else 0,
        },
        "examples_a_step": setup.part.step_items,
        "steps_an_epoch": setup.steps_an_epoch,
        "steps": setup.steps,
        "first_batch": {name: list(tensor.shape) for name, tensor in shapes.items()},
    }
