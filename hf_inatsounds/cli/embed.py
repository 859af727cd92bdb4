"""Embeddings of recordings of any length, window by window, as Parquet: file, start_s, end_s, embedding.

Examples:
  hf-inatsounds embed runs/ast dawn.wav --out dawn.parquet
  hf-inatsounds embed MIT/ast-finetuned-audioset-10-10-0.4593 *.flac --out embeddings.parquet --stride 5
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import checkpoint_flags
from hf_inatsounds.cli.heard import HeardFiles, add_recording_flags
from hf_inatsounds.cli.output import hush_libraries, show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    add_recording_flags(parser, "windows held at once")
    parser.add_argument("--out", type=given.output_file, required=True, help="Parquet file to write")


def run(arguments: argparse.Namespace) -> int:
    """Embed; a file that was not heard whole is named, the others go on, and the exit code is 1."""
    hush_libraries()
    from hf_inatsounds.audio.windows import chosen_window
    from hf_inatsounds.files import replacing
    from hf_inatsounds.inference.embedding import load_embedder
    from hf_inatsounds.inference.embedding_table import EmbeddingTable, embed_audio
    from hf_inatsounds.progress import track

    embedder = load_embedder(
        arguments.model, **checkpoint_flags(arguments), device=arguments.device, dtype=arguments.dtype
    )
    window = chosen_window(embedder.window.side_by_side(), arguments.window, arguments.stride)
    heard = HeardFiles("embed", quiet=arguments.quiet)
    options = {"batch_size": arguments.batch_size, "channel": arguments.channel}
    with replacing(arguments.out) as path, EmbeddingTable(path) as table:
        for file in track(arguments.files, "embedding", total=len(arguments.files), quiet=arguments.quiet):
            with heard.file(file) as hearing:
                for batch in embed_audio(embedder, file, file, window, hearing, **options):
                    table.add(file, *batch)
        heard.require_something(arguments.out)
    found = {"out": arguments.out, "windows": table.rows, "dimensions": table.dimensions, **heard.as_dict()}
    show(found, f"{arguments.out}: {table.rows} windows, {table.dimensions} dimensions", as_json=arguments.json)
    return heard.exit_code()
