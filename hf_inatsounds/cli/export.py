"""Write a part of the dataset as a folder of files with metadata.csv (AudioFolder), for other tools.

Examples:
  hf-inatsounds export official --out frogs --split train --select family=Ranidae --select max_per_class=150
  hf-inatsounds export path/to/archives --index path/to/index --out mine --select species=@list.txt
  hf-inatsounds export me/inatsounds --out near --select radius=48.1,11.6,200 --select "license=CC0 1.0,CC BY 4.0"
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_inatsounds.archives.fetch import public_place
from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import note, show
from hf_inatsounds.schema import SPLITS, TERMS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", type=given.name, help="official, a folder, a mirror, a base URL, or a Hub dataset id")
    parser.add_argument("--out", type=given.output_folder, required=True, help="folder to write")
    parser.add_argument("--index", type=given.name, help="folder or base URL of the archives' seek indexes")
    parser.add_argument("--split", action="append", choices=SPLITS, help="may be repeated (default: all in the source)")
    given.add_selection(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the files, and say what is there."""
    from hf_inatsounds.data.split_info import split_info, splits_of
    from hf_inatsounds.publishing.audio_folder import export_folder

    note(f"The dataset's terms: {TERMS}", quiet=arguments.quiet)
    infos = [
        split_info(arguments.source, arguments.name, split, arguments.index or "", arguments.select)
        for split in arguments.split or splits_of(arguments.source)
    ]
    done = export_folder(infos, Path(arguments.out), quiet=arguments.quiet)
    text = f"{done['recordings']:,} recordings, {done['bytes'] / 1e6:,.1f} MB: {done['folder']}"
    if done["absent"]:
        text += f"\nannotated, and not in the source: {done['absent']:,}"
    show({**done, "source": public_place(arguments.source)}, text, as_json=arguments.json)
    note(f'next: datasets.load_dataset("audiofolder", data_dir="{done["folder"]}")', quiet=arguments.quiet)
