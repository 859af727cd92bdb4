"""Embeddings of recordings of any length, window by window, as Parquet: file, start_s, end_s, embedding.

Examples:
  hf-inatsounds embed runs/ast dawn.wav --out dawn.parquet
  hf-inatsounds embed MIT/ast-finetuned-audioset-10-10-0.4593 *.flac --out embeddings.parquet --stride 5
  hf-inatsounds embed runs/ast /media/card --out season.parquet

OUT.journal keeps what is done: the same command goes on after an interruption, and later does only new and changed
files.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import checkpoint_flags
from hf_inatsounds.cli.heard import HeardFiles, add_recording_flags, chosen, write_journalled
from hf_inatsounds.cli.output import hush_libraries, show

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_inatsounds.audio.hearing import Hearing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recording_flags(parser, "windows held at once")
    parser.add_argument("--out", type=given.output_file, required=True, help="Parquet file to write")


def run(arguments: argparse.Namespace) -> int:
    """Embed; a file that was not heard whole is named, the others go on, and the exit code is 1."""
    files = chosen(arguments)
    hush_libraries()
    from hf_inatsounds.audio.windows import chosen_window
    from hf_inatsounds.inference.embedding import load_embedder
    from hf_inatsounds.inference.embedding_table import SCHEMA, as_table, embed_audio
    from hf_inatsounds.inference.making import made_by
    from hf_inatsounds.inference.predict import write_tables

    embedder = load_embedder(
        arguments.model, **checkpoint_flags(arguments), device=arguments.device, dtype=arguments.dtype
    )
    window = chosen_window(embedder.window.side_by_side(), arguments.window, arguments.stride)
    embedder.check_window(window)
    heard = HeardFiles("embed", quiet=arguments.quiet)
    options = {"batch_size": arguments.batch_size, "channel": arguments.channel}
    dimensions = 0

    def embeddings(file: str, hearing: Hearing) -> Iterator[pa.Table]:
        for batch in embed_audio(embedder, file, file, window, hearing, **options):
            yield as_table(file, *batch).drop_columns("file")

    def write(tables: Iterator[pa.Table], path: Path) -> int:
        def measured() -> Iterator[pa.Table]:
            nonlocal dimensions
            for table in tables:
                dimensions = len(table["embedding"][0])
                yield table

        return write_tables(measured(), path, SCHEMA)

    facts = made_by(embedder, window=window, channel=arguments.channel)
    rows = write_journalled(arguments.out, files, heard, facts, embeddings, write)
    found = {"out": arguments.out, "windows": rows, "dimensions": dimensions, **heard.as_dict()}
    show(found, f"{arguments.out}: {rows} windows, {dimensions} dimensions", as_json=arguments.json)
    if arguments.files_table:
        heard.write(arguments.files_table)
    return heard.exit_code()
