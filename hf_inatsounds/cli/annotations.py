"""What a source's annotations hold: species, recordings, hours and licences by supercategory and split.

Reads the annotation archives alone, no recording. Hours are those of the annotated durations.

Examples:
  hf-inatsounds annotations official
  hf-inatsounds annotations path/to/archives --split train --json
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli.output import show
from hf_inatsounds.schema import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", help="archives or annotations: official, a folder, or a base URL")
    parser.add_argument("--split", choices=SPLITS, help="one alone (default: all that the source has)")


def run(arguments: argparse.Namespace) -> None:
    """Count, and print the tables."""
    from hf_inatsounds.annotations import annotation_file, read_annotations
    from hf_inatsounds.archives.fetch import Source, held
    from hf_inatsounds.errors import SourceError
    from hf_inatsounds.source_reports import annotations_text
    from hf_inatsounds.summary import summarise_annotations

    source = Source.parse(arguments.source)
    splits = [arguments.split] if arguments.split else held(SPLITS, lambda one: bool(annotation_file(source, one)))
    if not splits:
        raise SourceError("no annotations here", where=source.root, expected="train.json.tar.gz …")
    summary = {
        "source": source.root,
        **summarise_annotations([read_annotations(source, split) for split in splits]),
    }
    show(summary, annotations_text(summary), as_json=arguments.json)
