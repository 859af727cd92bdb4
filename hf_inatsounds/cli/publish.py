"""Make a mirror that plain datasets.load_dataset reads, in a folder or on the Hub: Parquet shards, annotations, card.

A repository is private unless --public is given, and --public alone publishes annotations and seek index: recordings
go into a public repository only with --acknowledge-terms as well.

Examples:
  hf-inatsounds publish official me/inatsounds
  hf-inatsounds publish path/to/archives --local-dir mirror --config aves --split train --workers 4
  hf-inatsounds publish path/to/archives me/inatsounds-index --public --index path/to/index
  torchrun --no-python --nproc-per-node 4 hf-inatsounds publish path/to/archives --local-dir mirror

Run again after an interruption: finished shards and encoded recordings are kept, and the bytes are the same. Whoever
reads the repository meanwhile sees the mirror that was there. Files that others put there stay.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import note, show
from hf_inatsounds.errors import PublishError
from hf_inatsounds.runtime.ranges import Range
from hf_inatsounds.schema import SPLITS, TERMS

if TYPE_CHECKING:
    from hf_inatsounds.publishing.parts import Share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "source", type=given.name, help="official, a folder with archives or the unpacked tree, or a base URL"
    )
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("repo_id", nargs="?", type=given.repository, help="dataset repository on the Hub, owner/name")
    target.add_argument("--local-dir", type=given.output_folder, help="a folder instead of the Hub")
    configs = "all, a supercategory, evaluation, annotations; may be repeated (default: all)"
    parser.add_argument("--config", type=given.name, action="append", metavar="NAME", help=configs)
    given.add_select(parser)
    parser.add_argument("--split", action="append", choices=SPLITS, help="may be repeated (default: all in the source)")
    parser.add_argument("--format", choices=("flac", "wav"), default="flac", help="of the audio; both are lossless")
    parser.add_argument("--seed", type=given.seed, default=0, help="of the shuffle (default: 0)")
    parser.add_argument(
        "--workers", type=given.processes, default=os.cpu_count() or 1, help="encoders (default: all cores)"
    )
    parser.add_argument("--shard-mb", type=given.whole_number(Range(1, 100_000)), default=500,
                        help="aimed-at size of a shard (default: 500)")  # fmt: skip
    parser.add_argument(
        "--index",
        type=given.name,
        metavar="DIR",
        help="seek indexes to read the archives by, and to publish too: a folder that index made",
    )
    parser.add_argument(
        "--work-dir",
        type=given.output_folder,
        help="where a mirror for the Hub is made (default: in the Hugging Face cache)",
    )
    parser.add_argument("--wait", type=given.number(Range(0, 10**6)), default=3600.0, metavar="SECONDS",
                        help="how long rank 0 waits for other ranks that give no sign (default: 3600)")  # fmt: skip
    parser.add_argument("--replace-card", action="store_true", help="write over a README.md that was changed by hand")
    parser.add_argument("--public", action="store_true", help="a public repository: annotations and index, no audio")
    parser.add_argument("--acknowledge-terms", action="store_true", help=f"with --public: audio too. {TERMS}")


def run(arguments: argparse.Namespace) -> None:
    """Make the mirror, upload it, say what is there."""
    import datasets

    datasets.disable_progress_bars()  # ours are on stderr
    from hf_inatsounds.publishing.hub import HubTarget
    from hf_inatsounds.publishing.mirror import MirrorBuilder

    part = _part(arguments.wait)
    audio = not arguments.public or arguments.acknowledge_terms
    if not audio:
        note(
            f"--public without --acknowledge-terms: no recording is published. The dataset's terms: {TERMS}",
            quiet=arguments.quiet,
        )
    target = None
    if arguments.repo_id:
        target = HubTarget(arguments.repo_id, public=arguments.public, quiet=arguments.quiet,
                           replace_card=arguments.replace_card)  # fmt: skip
        target.open()
    builder = MirrorBuilder(
        arguments.source,
        _folder(arguments),
        _settings(arguments),
        audio=audio,
        index=arguments.index,
        place=arguments.repo_id or "path/to/this/folder",
        part=part,
        workers=arguments.workers,
        quiet=arguments.quiet,
        replace_card=arguments.replace_card,
    )
    fingerprint = builder.plan.fingerprint
    try:
        manifest = builder.build(None if target is None else lambda: target.part_records(fingerprint))
    except OSError as error:  # a full disk, a folder that may not be written
        raise PublishError(
            "cannot write the mirror", where=builder.folder, found=error,
            fix="Make room or choose another folder, and run the command again: what is finished is kept.",
        ) from error  # fmt: skip
    done: dict[str, Any] = {"folder": str(builder.folder), "repo_id": arguments.repo_id, "rank": part.rank}
    if manifest is None:
        if target is not None:
            try:
                target.upload_part(builder.path_of, f"{fingerprint}-{part.rank}-of-{part.count}", builder.own_records())
            except PublishError:
                if not builder.is_whole:  # rank 0 has the same folder, took the shards from under us, and uploads them
                    raise
        return show(done, f"rank {part.rank}: {len(builder.own_shards)} shards done", as_json=arguments.json)
    done |= {"public": arguments.public, "audio": audio, "recordings": manifest["recordings"]}
    done |= {"left_out": manifest["left_out"]}
    done |= {"files": len(manifest["files"]) + 1, "bytes": sum(record["size"] for record in manifest["files"])}
    if target is not None:
        done |= target.upload(builder.folder, manifest)
    return show(done, _text(done, manifest), as_json=arguments.json)


def _folder(arguments: argparse.Namespace) -> Path:
    if arguments.local_dir:
        return Path(arguments.local_dir)
    if arguments.work_dir:
        return Path(arguments.work_dir)
    from huggingface_hub.constants import HF_HOME

    kind = "private" if not arguments.public else "public-audio" if arguments.acknowledge_terms else "public"
    return Path(HF_HOME, "hf_inatsounds", "publish", f"{arguments.repo_id.replace('/', '--')}-{kind}")


def _settings(arguments: argparse.Namespace) -> Any:
    from hf_inatsounds.archives.fetch import Source
    from hf_inatsounds.data.annotations import annotation_file
    from hf_inatsounds.publishing.plan import MirrorSettings

    source = Source.parse(arguments.source)
    found = tuple(split for split in SPLITS if annotation_file(source, split))
    splits = tuple(split for split in SPLITS if split in arguments.split) if arguments.split else found
    if not splits:
        raise PublishError(
            "nothing of iNatSounds here", where=source.root, expected="train.tar.gz and train.json.tar.gz …"
        )
    return MirrorSettings(
        select=_selection(arguments),
        configs=tuple(dict.fromkeys(arguments.config or ["all"])),
        splits=splits,
        audio_format=arguments.format,
        seed=arguments.seed,
        shard_bytes=arguments.shard_mb * 1_000_000,
    )


def _selection(arguments: argparse.Namespace) -> str:
    from hf_inatsounds.data.selection import Selection

    return Selection.parse(select=arguments.select).text if arguments.select else ""


def _part(wait_s: float) -> Share:
    """The process's part, as accelerate and torchrun say it."""
    from hf_inatsounds.publishing.parts import Share

    try:
        return Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), wait_s)
    except ValueError as error:
        raise PublishError("bad part", where="RANK, WORLD_SIZE", found=error, expected="integers") from error


def _text(done: dict[str, Any], manifest: dict[str, Any]) -> str:
    kept = [names for record in manifest["files"] for names in record.get("kept_as_original_bytes", {}).values()]
    absent = sum(len(record.get("not_in_the_archive", ())) for record in manifest["files"])
    lines = [
        f"{done['recordings']} recordings in {done['files']} files, {done['bytes'] / 1e6:,.1f} MB: {done['folder']}",
        f"kept as original bytes: {sum(map(len, kept))}; left out, since nothing of them can be decoded: "
        f"{sum(manifest['left_out'].values())}; annotated but not in the archives: {absent}",
    ]
    if done["repo_id"]:
        visibility = "public" if done["public"] else "private"
        lines.append(
            f"{done['repo_id']} ({visibility}): {done['uploaded']} files uploaded, "
            f"{done['already_there']} there already, {done['removed']} removed"
        )
    return "\n".join(lines)
