"""Whether a source is whole: checksums, every member read, defects listed, files against annotations.

Each archive is read once, whether from a folder or a URL. The md5 is compared with the published one where the
source is official, or the file has the size of the official one.

Exit codes:
  0  whole: defective recordings, if any, are listed; training and evaluation cope with them
  1  not whole: an archive is damaged or missing, an md5 differs from the official one, or files and annotations
     do not match; each problem is a line at the report's end

Examples:
  hf-inatsounds verify path/to/archives
  hf-inatsounds verify path/to/archives --split test --window 5 --json > test.json
  hf-inatsounds verify official --jobs 3 --cache verified
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import show
from hf_inatsounds.runtime.ranges import Range
from hf_inatsounds.schema import SPLITS

WINDOW_S = given.number(Range(0, 86_400, open_low=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "source", type=given.name, help="official, a folder with the archives or the unpacked tree, or a base URL"
    )
    parser.add_argument("--split", choices=SPLITS, help="one alone (default: all that the source has)")
    parser.add_argument("--window", type=WINDOW_S, default=3.0, help="count recordings shorter than this (3.0 s)")
    parser.add_argument(
        "--jobs", type=given.processes, help="processes, a split each (default: by size and processors)"
    )
    parser.add_argument(
        "--cache",
        type=given.output_folder,
        metavar="DIR",
        help="keep each finished archive's result, to resume after an interrupt",
    )


def run(arguments: argparse.Namespace) -> int:
    """Verify, print the report; 1 if the source is not whole."""
    from hf_inatsounds.reports.source_reports import verification_text
    from hf_inatsounds.verification import verify

    report = verify(
        arguments.source,
        splits=None if arguments.split is None else [arguments.split],
        window_s=arguments.window,
        jobs=arguments.jobs,
        cache=arguments.cache,
        quiet=arguments.quiet,
    )
    show(report, verification_text(report), as_json=arguments.json)
    return 0 if report["ok"] else 1
