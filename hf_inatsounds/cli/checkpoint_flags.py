"""Flags of every command that takes a checkpoint."""

from __future__ import annotations

import argparse
from typing import Any

from hf_inatsounds.cli import arguments as given


def add_checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """``--revision`` and ``--subfolder``."""
    parser.add_argument(
        "--revision", type=given.name, help="branch, tag or commit of a Hub model (default: its main branch)"
    )
    parser.add_argument("--subfolder", type=given.name, help="folder of the checkpoint within MODEL (default: its top)")


def checkpoint_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Their values, as ``load_classifier`` and ``load_embedder`` take them."""
    return {"revision": arguments.revision, "subfolder": arguments.subfolder}
