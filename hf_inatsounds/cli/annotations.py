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
    from hf_inatsounds.data.annotations import Annotations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", type=given.name, help="archives or annotations: official, a folder, or a base URL")
    parser.add_argument("--split", choices=SPLITS, help="one alone (default: all that the source has)")
    given.add_selection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Count, and print the tables; a split that cannot be read is named, the others go on, and the exit code is 1."""
    from hf_inatsounds.archives.fetch import Source, public_place
    from hf_inatsounds.data.annotation_summary import summarise_annotations
    from hf_inatsounds.data.mirror import is_mirror
    from hf_inatsounds.data.selection import Selection
    from hf_inatsounds.data.split_info import splits_of
    from hf_inatsounds.reports.source_reports import annotations_text

    where = arguments.source if is_mirror(arguments.source) else Source.parse(arguments.source).root
    splits = [arguments.split] if arguments.split else splits_of(where)
    selection = Selection.parse(arguments.name, arguments.select)
    odd = OddOnes("annotations")
    read = list(filter(None, (_read(where, split, odd) for split in splits)))
    odd.require_others(read)
    read = [selection.apply(one) for one in read]
    summary = {"source": public_place(where), **summarise_annotations(read), "failed": odd.reasons}
    show(summary, annotations_text(summary), as_json=arguments.json)
    return odd.exit_code()


def _read(source: str, split: str, odd: OddOnes) -> Annotations | None:
    from hf_inatsounds.data.split_info import all_annotations

    with odd.named(split):
        return all_annotations(source, split)
    return None
