"""Evaluated runs side by side; each is compared with the first, on the same resamples of the recordings.

Examples:
  hf-inatsounds compare runs/ast runs/wav2vec2
  hf-inatsounds compare runs/a runs/b runs/c --split validation --out comparison.html
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli.output import hush_libraries, note, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folder, or folder of an evaluation; the first is the baseline"
    )
    parser.add_argument("--split", help="which evaluation of the runs (default: test where there is one)")
    parser.add_argument("--out", help="HTML page to write (default: none)")
    parser.add_argument("--resamples", type=int, default=200, help="of the bootstrap (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace) -> None:
    """Compare, print the tables, and write the page."""
    hush_libraries()
    from hf_inatsounds.comparison import compare
    from hf_inatsounds.errors import InatSoundsError
    from hf_inatsounds.evaluation import Bootstrap
    from hf_inatsounds.reports import comparison_text, write_comparison

    try:
        how = Bootstrap(arguments.resamples, arguments.seed)
    except ValueError as error:
        raise InatSoundsError("bad value", where="--resamples, --seed", found=error) from error
    comparison = compare(arguments.runs, split=arguments.split, how=how)
    if arguments.out:
        write_comparison(arguments.out, comparison)
    show(comparison, comparison_text(comparison), as_json=arguments.json)
    if arguments.out:
        note(f"\nwrote {arguments.out}", quiet=arguments.quiet)
