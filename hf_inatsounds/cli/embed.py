"""Embeddings of recordings of any length, window by window, as Parquet: file, start_s, end_s, embedding.

Examples:
  hf-inatsounds embed runs/ast dawn.wav --out dawn.parquet
  hf-inatsounds embed MIT/ast-finetuned-audioset-10-10-0.4593 *.flac --out embeddings.parquet --stride 5
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import add_checkpoint_flags, checkpoint_flags
from hf_inatsounds.cli.device import add_device
from hf_inatsounds.cli.heard import HeardFiles
from hf_inatsounds.cli.output import hush_libraries, show
from hf_inatsounds.runtime.ranges import Range


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("model", type=given.name, help="run folder, checkpoint or Hub model id")
    add_checkpoint_flags(parser)
    parser.add_argument("files", nargs="+", type=given.name, metavar="FILE", help="WAV, FLAC, OGG or MP3")
    parser.add_argument("--out", type=given.output_file, required=True, help="Parquet file to write")
    parser.add_argument("--window", type=given.window_s, help="window in seconds (default: the checkpoint's)")
    parser.add_argument("--stride", type=given.stride_s, help="stride in seconds (default: the window)")
    parser.add_argument(
        "--channel",
        type=given.whole_number(Range(0, 65_535)),
        help="channel to listen to, from 0 (default: the mean of all)",
    )
    parser.add_argument("--batch-size", type=given.batch_size, default=32, help="windows held at once (default: 32)")
    add_device(parser)


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
