"""Species in recordings of any length, window by window.

Examples:
  hf-inatsounds predict runs/ast dawn.wav > detections.csv
  hf-inatsounds predict runs/ast *.flac --top 3 --min-score 0.3 --stride 1.5 --out detections.csv
  hf-inatsounds predict runs/ast dawn.wav --format raven --out dawn.txt
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import checkpoint_flags
from hf_inatsounds.cli.heard import HeardFiles, add_recording_flags
from hf_inatsounds.cli.output import hush_libraries, show
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.runtime.ranges import Range


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
    hush_libraries()
    from hf_inatsounds.audio.windows import chosen_window
    from hf_inatsounds.files import replacing
    from hf_inatsounds.inference.predict import LINES, Detection, predict_file, write_detections
    from hf_inatsounds.models.classifier import load_classifier
    from hf_inatsounds.progress import track

    classifier = load_classifier(
        arguments.model, **checkpoint_flags(arguments), device=arguments.device, dtype=arguments.dtype
    )
    window = chosen_window(classifier.window.side_by_side(), arguments.window, arguments.stride)
    heard = HeardFiles("predict", quiet=arguments.quiet)
    options = {"window": window, "top": arguments.top, "min_score": arguments.min_score, "channel": arguments.channel}

    def detections() -> Iterator[Detection]:
        bar = track(arguments.files, "predicting", total=len(arguments.files), quiet=arguments.quiet)
        for file in bar:
            with heard.file(file) as hearing:
                yield from predict_file(classifier, file, batch_size=arguments.batch_size, hearing=hearing, **options)

    if arguments.out:
        with replacing(arguments.out) as path:
            count = write_detections(detections(), Path(path), arguments.format, heard.found)
            heard.require_something(arguments.out)
        found = {"out": arguments.out, "detections": count, **heard.as_dict()}
        show(found, f"{arguments.out}: {count} detections", as_json=arguments.json)
    elif arguments.json:
        rows = [vars(one) for one in detections()]
        show({"detections": rows, **heard.as_dict()}, "", as_json=True)
    else:
        stream = detections()
        first = list(islice(stream, 1))  # no heading, either, where nothing was heard
        if not first:
            heard.require_something(None)
        for line in LINES[arguments.format](chain(first, stream), heard.found):
            sys.stdout.write(line)
    return heard.exit_code()
