"""Flags of every command in which a model runs: where, and in which precision."""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given

DTYPES = ("float32", "bfloat16", "float16")


def add_device(parser: argparse.ArgumentParser) -> None:
    """``--device`` and ``--dtype``."""
    parser.add_argument(
        "--device",
        type=given.device,
        default="auto",
        help="auto, cpu, cuda, cuda:1, xpu or mps (default: the best here)",
    )
    parser.add_argument(
        "--dtype", default="float32", choices=DTYPES,
        help="what forward passes are computed in; docs/recipes.md has its effect on scores (default: float32)",
    )  # fmt: skip
