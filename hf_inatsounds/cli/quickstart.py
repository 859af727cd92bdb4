"""The main job on an embedded archive, made on the spot: stream, fine-tune, evaluate, card, predict.

Examples:
  hf-inatsounds quickstart
  hf-inatsounds quickstart --out /tmp/first-run
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import hush_libraries, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "--out",
        type=given.output_folder,
        default="quickstart",
        help="folder for all that it makes (default: quickstart)",
    )
    parser.add_argument("--seed", type=given.seed, default=0, help="of the archive and the training (default: 0)")


def run(arguments: argparse.Namespace) -> None:
    """Run it, and print results, paths and what to try next."""
    hush_libraries()
    from hf_inatsounds.quickstart.run import quickstart

    made = quickstart(arguments.out, seed=arguments.seed, quiet=arguments.quiet)
    show(made.as_json(), made.text(), as_json=arguments.json)
