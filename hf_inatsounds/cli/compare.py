"""Evaluated runs side by side; each is compared with the first, on the same resamples of the recordings.

Examples:
  hf-inatsounds compare runs/ast runs/wav2vec2
  hf-inatsounds compare runs/a runs/b runs/c --split validation --out comparison.html
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.odd_ones import OddOnes
from hf_inatsounds.cli.output import hush_libraries, note, show
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.schema import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "runs",
        nargs="+",
        type=given.name,
        metavar="RUN",
        help="run folder, or folder of an evaluation; the first is the baseline",
    )
    parser.add_argument(
        "--split", choices=SPLITS, help="which evaluation of the runs (default: test where there is one)"
    )
    parser.add_argument("--out", type=given.output_file, help="HTML page to write (default: none)")
    parser.add_argument("--resamples", type=given.resamples, default=200, help="of the bootstrap (default: 200)")
    parser.add_argument("--seed", type=given.seed, default=0, help="of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Compare, print the tables, and write the page; a run that cannot be compared is named, and the code is 1."""
    if len(arguments.runs) < 2:
        raise ArgumentsError("nothing to compare", where="RUN", found=len(arguments.runs), expected="at least two")
    hush_libraries()
    from hf_inatsounds.evaluation import Bootstrap
    from hf_inatsounds.evaluation.comparison import compare
    from hf_inatsounds.reports import comparison_text, write_comparison

    odd = OddOnes("compare")
    how = Bootstrap(arguments.resamples, arguments.seed)
    comparison = compare(arguments.runs, split=arguments.split, how=how, passed_over=odd.add)
    comparison["failed"] = odd.reasons
    if arguments.out:
        write_comparison(arguments.out, comparison)
    show(comparison, comparison_text(comparison), as_json=arguments.json)
    if arguments.out:
        note(f"\nwrote {arguments.out}", quiet=arguments.quiet)
    return odd.exit_code()
