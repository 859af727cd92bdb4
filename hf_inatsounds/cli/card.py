"""Render the model card from results.json, into the run folder's README.md.

Examples:
  hf-inatsounds card runs/ast
  hf-inatsounds card runs/ast --model-id me/ast-inatsounds
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.odd_ones import OddOnes
from hf_inatsounds.cli.output import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "run_dir", type=given.name, metavar="RUN_DIR", help="checkpoint folder with evaluations below it"
    )
    parser.add_argument("--model-id", type=given.name, help="the model's name on the Hub (default: the folder's name)")


def run(arguments: argparse.Namespace) -> int:
    """Write the card, and print its path; an evaluation that cannot be read is named, and the exit code is 1."""
    from hf_inatsounds.reports.model_card import write_card

    odd = OddOnes("card")
    path = write_card(arguments.run_dir, model_id=arguments.model_id, passed_over=odd.add)
    show({"card": str(path), "failed": odd.reasons}, str(path), as_json=arguments.json)
    return odd.exit_code()
