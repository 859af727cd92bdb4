"""What a source's annotations hold: species, recordings, hours and licences by supercategory and split.

Reads the annotation archives alone, no recording. Hours are those of the annotated durations.

Examples:
  hf-inatsounds annotations official
  hf-inatsounds annotations path/to/archives --split train --json
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.odd_ones import OddOnes
from hf_inatsounds.cli.output import show
from hf_inatsounds.schema import SPLITS

if TYPE_CHECKING:
    from hf_inatsounds.archives.fetch import Source
    from hf_inatsounds.data.annotations import Annotations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", type=given.name, help="archives or annotations: official, a folder, or a base URL")
    parser.add_argument("--split", choices=SPLITS, help="one alone (default: all that the source has)")


def run(arguments: argparse.Namespace) -> int:
    """Count, and print the tables; a split that cannot be read is named, the others go on, and the exit code is 1."""
    from hf_inatsounds.archives.fetch import Source, held
    from hf_inatsounds.data.annotation_summary import summarise_annotations
    from hf_inatsounds.data.annotations import annotation_file
    from hf_inatsounds.errors import SourceError
    from hf_inatsounds.reports.source_reports import annotations_text

    source = Source.parse(arguments.source)
    splits = [arguments.split] if arguments.split else held(SPLITS, lambda one: bool(annotation_file(source, one)))
    if not splits:
        raise SourceError("no annotations here", where=source.root, expected="train.json.tar.gz …")
    odd = OddOnes("annotations")
    read = list(filter(None, (_read(source, split, odd) for split in splits)))
    odd.require_others(read)
    summary = {"source": source.root, **summarise_annotations(read), "failed": odd.reasons}
    show(summary, annotations_text(summary), as_json=arguments.json)
    return odd.exit_code()


def _read(source: Source, split: str, odd: OddOnes) -> Annotations | None:
    from hf_inatsounds.data.annotations import read_annotations

    with odd.named(split):
        return read_annotations(source, split)
    return None
