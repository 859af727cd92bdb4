# /// script
# requires-python = ">=3.11"
# dependencies = ["hf-inatsounds[models]"]
#
# [tool.uv.sources]
# hf-inatsounds = { path = "..", editable = true }
# ///
"""Fine-tune a classifier on iNatSounds: the whole run, from its arguments to its card.

``hf-inatsounds train`` goes through the same functions. Copy this file where a run of yours has to differ.

    accelerate launch --config_file train/accelerate/two-cpu-processes.yaml train/finetune.py \\
        train/recipes/ast-tiny.yaml --source path/to/archives --output_dir runs/two
    torchrun --nproc_per_node 8 train/finetune.py train/recipes/ast.yaml --source path/to/archives --bf16
    python train/finetune.py train/recipes/ast-tiny.yaml --source path/to/archives --resume auto
"""

from __future__ import annotations

import sys

from hf_inatsounds.cli.main import run_command
from hf_inatsounds.cli.train import Options, parse_words, show_run
from hf_inatsounds.publishing.finished_run import open_for
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.run import check_start, ends_named, finish, make_trainer, own_folder
from hf_inatsounds.training.setup import set_up


def finetune(recipe: Recipe, options: Options) -> None:
    """Train what a recipe says.

    Args:
        recipe: ``recipe.data``, ``recipe.model``, ``recipe.objective`` and ``recipe.training``, which is a
            transformers ``TrainingArguments``; each is a dataclass that ``HfArgumentParser`` reads too.
        options: how to go on and what to print.
    """
    # 1. May it begin? Nothing has been read or written so far.
    check_start(recipe, options.resume)
    if recipe.training.push_to_hub:
        open_for(recipe, create=True)

    # 2. Processes and device, annotations of the splits, model with its frontend and objective.
    setup = set_up(recipe)

    # 3. The run folder is this run's own from here on; a resumed run knows where it goes on.
    with own_folder(setup, options.resume) as start:
        # 4. transformers' Trainer: crops from the collator, frontend and augmentation on the device,
        #    and validation by the paper's protocol in place of a loss on crops.
        trainer = make_trainer(setup, start, quiet=options.quiet)

        # 5. Steps. A signal saves a checkpoint first; what ends the run is told in one line.
        with ends_named(setup, trainer):
            trainer.train(resume_from_checkpoint=start.checkpoint)

            # 6. A native transformers checkpoint, recipe.yaml, origin.json, report.md and, last, train.json.
            result = finish(setup, trainer, start)

    # 7. What it reached; on the Hub, with an evaluation and its card, where the recipe says so.
    if result["main_process"]:
        show_run(recipe, result, as_json=options.json, quiet=options.quiet)


def main() -> int:
    """Parse a recipe and flags, and train; returns the exit code."""
    recipe, options = parse_words(sys.argv[1:])
    finetune(recipe, options)
    return 0


if __name__ == "__main__":
    sys.exit(run_command("train", main))
