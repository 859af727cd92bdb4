"""Build the seek index of a source's archives: about one percent of their size, with no recording in it.

With it, `load_dataset(..., index=DIR)` reads any recording by range request: many shards, mixing, exact resume, and
selections that fetch only what they need. One pass over each archive; a build that was stopped goes on where it was.

Examples:
  hf-inatsounds index path/to/archives --out path/to/index
  hf-inatsounds index official --out inatsounds-index --split test --json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.odd_ones import OddOnes
from hf_inatsounds.cli.output import note, show
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import OFFICIAL_FILES, SPLITS, STEMS

if TYPE_CHECKING:
    from hf_inatsounds.archives.fetch import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("source", type=given.name, help="archives: official, a folder or a base URL")
    parser.add_argument("--out", type=given.output_folder, required=True, help="folder of the index")
    parser.add_argument(
        "--split", action="append", choices=SPLITS, help="only this split; may be repeated (default: all there are)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Build, and say what was built; a split that fails is named, the others go on, and the exit code is 1."""
    from hf_inatsounds.archives.fetch import Source, held, public_place

    source = Source.parse(arguments.source)
    found = held(arguments.split or SPLITS, lambda split: source.exists(f"{STEMS[split]}.tar.gz"))
    missing = sorted(set(arguments.split or []) - set(found))
    if missing or not found:
        stem = STEMS[missing[0]] if missing else "train"
        raise SourceError("missing audio archive", where=source.path(f"{stem}.tar.gz"), found="no such file")
    odd, made = OddOnes("index"), []
    for split in (one for one in SPLITS if one in found):
        with odd.named(split):
            made.append(_build(source, split, Path(arguments.out), quiet=arguments.quiet))
    odd.require_others(made)
    show(made, "\n".join(map(_line, made)), as_json=arguments.json)
    call = (
        f'load_dataset(split="{made[0]["split"]}", source="{public_place(arguments.source)}", index="{arguments.out}")'
    )
    note(f"\nnext: hf_inatsounds.{call}", quiet=arguments.quiet)
    return odd.exit_code()


def _build(source: Source, split: str, folder: Path, *, quiet: bool) -> dict[str, Any]:
    from hf_inatsounds.archives.fetch import Source
    from hf_inatsounds.archives.indexing import IndexBuild
    from hf_inatsounds.archives.ranges import open_ranges
    from hf_inatsounds.archives.seek_index import file_names, has_index, read_index
    from hf_inatsounds.progress import Bar

    stem = STEMS[split]
    folder.mkdir(parents=True, exist_ok=True)
    there = Source.parse(folder)
    if not has_index(there, stem):
        bar = Bar(f"indexing {stem}.tar.gz, MB", quiet=quiet)
        build = IndexBuild(source, stem, folder, report=lambda done, _: bar.update(done // 1_000_000))
        if build.resumed_at:
            note(f"{stem}: going on at {build.resumed_at / 1e6:,.0f} MB", quiet=quiet)
        bar.start(build.size // 1_000_000)
        try:
            build.run()
        finally:
            bar.close()
    index = read_index(there, stem)
    index.check_archive(open_ranges(source.path(f"{stem}.tar.gz")))
    official = next(file.md5 for file in OFFICIAL_FILES if file.name == f"{stem}.tar.gz")
    size = sum((folder / name).stat().st_size for name in file_names(stem).values())
    return {
        "split": split,
        "archive_bytes": index.archive["bytes"],
        "md5": index.archive["md5"],
        "official": index.archive["md5"] == official,
        "recordings": index.members.num_rows,
        "seek_points": index.points.num_rows,
        "index_bytes": size,
        "share": size / max(index.archive["bytes"], 1),
    }


def _line(made: dict[str, Any]) -> str:
    return (
        f"{made['split']}: {made['recordings']:,} recordings, {made['seek_points']:,} seek points, index "
        f"{made['index_bytes'] / 1e6:,.1f} MB = {100 * made['share']:.2f} % of {made['archive_bytes'] / 1e6:,.1f} MB; "
        f"md5 {made['md5']}, {'the' if made['official'] else 'not the'} official archive"
    )
