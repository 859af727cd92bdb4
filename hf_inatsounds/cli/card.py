"""Render the model card from results.json, into the run folder's README.md.

Examples:
  hf-inatsounds card runs/ast
  hf-inatsounds card runs/ast --model-id me/ast-inatsounds
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli.output import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("run_dir", metavar="RUN_DIR", help="checkpoint folder with evaluations below it")
    parser.add_argument("--model-id", help="the model's name on the Hub (default: the folder's name)")


def run(arguments: argparse.Namespace) -> None:
    """Write the card, and print its path."""
    from hf_inatsounds.cards import write_card

    path = write_card(arguments.run_dir, model_id=arguments.model_id)
    show({"card": str(path)}, str(path), as_json=arguments.json)
