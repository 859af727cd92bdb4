"""Species in recordings of any length, window by window.

Examples:
  hf-inatsounds predict runs/ast dawn.wav > detections.csv
  hf-inatsounds predict runs/ast *.flac --top 3 --min-score 0.3 --stride 1.5 --out detections.csv
  hf-inatsounds predict runs/ast dawn.wav --format raven --out dawn.txt
  hf-inatsounds predict runs/ast /media/card --out season.csv --files-table season.files.csv
  find /data -name "*.WAV" -print0 | hf-inatsounds predict runs/ast --files-from - --out season.csv

With --out, OUT.journal keeps what is done: the same command goes on after an interruption, and later does only new and
changed files.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import checkpoint_flags
from hf_inatsounds.cli.heard import HeardFiles, add_recording_flags, chosen, write_journalled
from hf_inatsounds.cli.output import hush_libraries, show
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.runtime.ranges import Range

if TYPE_CHECKING:
    from hf_inatsounds.audio.hearing import Hearing
    from hf_inatsounds.inference.predict import Detection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recording_flags(parser, "windows per forward pass")
    parser.add_argument(
        "--format", default="csv", choices=("csv", "parquet", "raven", "audacity"), help="(default: csv)"
    )
    parser.add_argument("--out", type=given.output_file, help="file to write (default: stdout)")
    parser.add_argument(
        "--top", type=given.whole_number(Range(1, 1_000_000)), default=1, help="species per window (default: 1)"
    )
    parser.add_argument("--min-score", type=given.share, default=0.0, help="leave out weaker ones (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Predict; a file that was not heard whole is named, the others go on, and the exit code is 1."""
    if arguments.format == "parquet" and not arguments.out:
        raise ArgumentsError("Parquet does not go to a terminal", where="--out", found="nothing", expected="a file")
    files = chosen(arguments)
    hush_libraries()
    from hf_inatsounds.audio.windows import chosen_window
    from hf_inatsounds.inference.making import made_by
    from hf_inatsounds.inference.predict import LINES, detections_of, predict_file, tables_of, write_detections
    from hf_inatsounds.models.classifier import load_classifier
    from hf_inatsounds.progress import track

    classifier = load_classifier(
        arguments.model, **checkpoint_flags(arguments), device=arguments.device, dtype=arguments.dtype
    )
    window = chosen_window(classifier.window.side_by_side(), arguments.window, arguments.stride)
    classifier.frontend.check_window(window)
    heard = HeardFiles("predict", quiet=arguments.quiet)
    options = {"window": window, "top": arguments.top, "min_score": arguments.min_score, "channel": arguments.channel}

    def detections(file: str, hearing: Hearing) -> Iterator[Detection]:
        return predict_file(classifier, file, batch_size=arguments.batch_size, hearing=hearing, **options)

    def stream() -> Iterator[Detection]:
        for file in track(files, "predicting", total=len(files), quiet=arguments.quiet):
            with heard.file(file) as hearing:
                yield from detections(file, hearing)

    if arguments.out:
        count = write_journalled(
            arguments.out, files, heard, made_by(classifier, **options),
            lambda file, hearing: tables_of(detections(file, hearing)),
            lambda tables, path: write_detections(detections_of(tables), path, arguments.format, heard.found),
        )  # fmt: skip
        found = {"out": arguments.out, "detections": count, **heard.as_dict()}
        show(found, f"{arguments.out}: {count} detections", as_json=arguments.json)
    elif arguments.json:
        rows = [vars(one) for one in stream()]
        show({"detections": rows, **heard.as_dict()}, "", as_json=True)
    else:
        running = stream()
        first = list(islice(running, 1))  # no heading, either, where nothing was heard
        if not first:
            heard.require_something(None)
        for line in LINES[arguments.format](chain(first, running), heard.found):
            sys.stdout.write(line)
    if arguments.files_table:
        heard.write(arguments.files_table)
    return heard.exit_code()
