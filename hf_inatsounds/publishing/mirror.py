"""Making a mirror in a folder: in one process or in parts, whole or resumed, the same bytes each time."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import soundfile as sf

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.source_state import audio_state
from hf_inatsounds.data.annotations import Annotations, read_annotations
from hf_inatsounds.data.labels import FILE_NAME
from hf_inatsounds.data.mirror import CARD_FILE, MANIFEST_FILE
from hf_inatsounds.data.mirror_places import PLACES, places_file
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.errors import PublishError
from hf_inatsounds.files import replacing, write_json, write_text
from hf_inatsounds.fingerprints import changed_facts, code_fingerprint, file_digest, versions
from hf_inatsounds.progress import Bar, track
from hf_inatsounds.publishing.dataset_card import count_reasons, count_rows, render_dataset_card
from hf_inatsounds.publishing.folder import FACTS_FILE, WORK_FOLDER, check_card, check_folder, place, read_manifest
from hf_inatsounds.publishing.index_files import copy_index
from hf_inatsounds.publishing.parts import Records, Share, await_records
from hf_inatsounds.publishing.placing import located, places_table
from hf_inatsounds.publishing.plan import MirrorSettings, Plan, Shard, describe, make_plan
from hf_inatsounds.publishing.recordings_in import recordings_in
from hf_inatsounds.publishing.shards import file_record, fill_spools, parquet_writer, write_shard
from hf_inatsounds.publishing.spool import Spool
from hf_inatsounds.schema import features

MADE_BY = ("hf_inatsounds.publishing.plan", "hf_inatsounds.publishing.shards", "hf_inatsounds.publishing.recordings_in")
"""Modules that decide on the shards' bytes; what they import counts too."""


class MirrorBuilder:
    """Makes a mirror of ``source`` in ``folder``.

    Args:
        source: "official", a folder or a base URL.
        folder: where to; other files than a mirror's are left alone.
        settings: what is in it.
        audio: whether the recordings are in it; False makes annotations, card and index alone.
        index: a folder of seek indexes that go with it, and by which a process reads only its own shards' recordings.
        place: what the card tells a reader to load: the repository's id.
        part: the shards that this process makes.
        workers: encoders of this process.
        quiet: no progress.
        replace_card: whether a README.md that was changed by hand is written over.

    Raises:
        SourceError, AnnotationError: as the source is read.
        PublishError: if the folder holds another mirror, or something else.

    Attributes:
        staging: where finished shards wait until all are there; they go into the folder together.
    """

    def __init__(
        self,
        source: str,
        folder: str | Path,
        settings: MirrorSettings,
        *,
        audio: bool = True,
        index: str | Path | None = None,
        place: str = "path/to/this/folder",
        part: Share | None = None,
        workers: int = 1,
        quiet: bool = False,
        replace_card: bool = False,
    ) -> None:
        self.replace_card = replace_card
        self.source, self.folder, self.index, self.place = Source.parse(source), Path(folder), index, place
        self._recordings = audio_state(self.source, settings.splits) if audio else {}
        self.part, self.workers, self.quiet = part or Share(), workers, quiet
        self.annotations: dict[str, Annotations] = {
            split: _chosen(read_annotations(self.source, split), settings.select) for split in settings.splits
        }
        species = self.annotations[settings.splits[0]].label_space.species
        self.schema = features(species, defect=True).arrow_schema
        self.bare_schema = features(species, audio=False).arrow_schema
        self.plan: Plan = make_plan(self.annotations, settings, audio=audio, state=self._state())
        self.work = self.folder / WORK_FOLDER / self.plan.fingerprint
        self.staging = self.work / "staging"
        check_folder(self.folder, self.work, self.plan.facts, replace_card=self.replace_card)

    @property
    def own_shards(self) -> tuple[Shard, ...]:
        """The shards that this process makes."""
        return self.part.of(self.plan.shards)

    def own_records(self) -> list[dict[str, Any]]:
        """What is known of the shards that this process has made."""
        return [record for shard in self.own_shards if (record := self._record(shard)) is not None]

    def build(self, elsewhere: Callable[[], Records] | None = None) -> dict[str, Any] | None:
        """Make this process's part, and for rank 0 complete the mirror.

        Args:
            elsewhere: tells path → record of shards that lie elsewhere than in the folder, made on other machines.

        Returns:
            The manifest; None for another rank than 0.

        Raises:
            SourceError: if an archive is missing or damaged.
            PublishError: if other processes' shards stay away.
        """
        for split in self.plan.settings.splits:
            self._make_shards(split, [shard for shard in self.own_shards if shard.split == split])
        if self.part.rank:
            return None
        records = await_records(self.plan, self.part, self._record, self.work, elsewhere)
        self._check_source()
        manifest = self._complete(records)
        shutil.rmtree(self.folder / WORK_FOLDER, ignore_errors=True)
        return manifest

    def _make_shards(self, split: str, shards: list[Shard]) -> None:
        todo = [shard for shard in shards if not self._is_finished(shard)]
        if not todo:
            return
        for name in ("spool", "shards", "records"):
            (self.work / name).mkdir(parents=True, exist_ok=True)
        write_json(self.work / FACTS_FILE, {"facts": dict(self.plan.facts)})
        spool_of = {shard.path: Spool(self.work / "spool" / f"{Path(shard.path).stem}.spool") for shard in todo}
        table = self.annotations[split].table
        wanted = {
            row: spool_of[shard.path] for shard in todo for row in shard.rows if not spool_of[shard.path].is_whole
        }
        if wanted:
            self._pass_over(split, wanted, table["file_name"].to_pylist())
            for spool in spool_of.values():
                spool.mark_whole()
        for shard in track(todo, f"writing {split} shards", total=len(todo), quiet=self.quiet):
            unfinished = self.work / "shards" / Path(shard.path).name
            record = write_shard(shard, table, spool_of[shard.path], self.schema, unfinished)
            record["bytes"] = located(unfinished)
            (self.staging / shard.path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(unfinished, self.staging / shard.path)
            write_json(self._record_path(shard), record)
            spool_of[shard.path].remove()

    def _pass_over(self, split: str, spools: dict[int, Spool], file_names: list[str]) -> None:
        audio_format = self.plan.settings.audio_format
        with contextlib.closing(Bar(f"encoding {split}", quiet=self.quiet)) as bar:
            bar.start(len(spools))
            found = functools.partial(recordings_in, self.source, split, index=self.index)
            for done in fill_spools(found, spools, file_names, audio_format, self.workers):
                bar.update(done)

    def _is_finished(self, shard: Shard) -> bool:
        """Whether the shard is there with its record's size and checksum."""
        record, path = self._record(shard), self.path_of(shard.path)
        if record is None or not path.exists() or path.stat().st_size != record["size"]:
            return False
        return bool(file_digest(path) == record["sha256"])

    @property
    def is_whole(self) -> bool:
        """Whether the folder holds the whole mirror."""
        return (read_manifest(self.folder) or {}).get("fingerprint") == self.plan.fingerprint

    def path_of(self, name: str) -> Path:
        """Where a file of the mirror is now: among the staged ones, or at its place."""
        staged = self.staging / name
        return staged if staged.exists() else self.folder / name

    def _record_path(self, shard: Shard) -> Path:
        return self.work / "records" / f"{Path(shard.path).stem}.json"

    def _record(self, shard: Shard) -> dict[str, Any] | None:
        """What is known of a finished shard, from this run's records or from a whole mirror's manifest."""
        made = _read_json(self._record_path(shard))
        if made is None:
            whole = read_manifest(self.folder) or {"files": []}
            made = next((record for record in whole["files"] if record["path"] == shard.path), None)
        return made

    def _complete(self, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Annotations, index and card, then the manifest, last of all.

        The card comes first, and leads to nothing until the staged files are at their places: without one, plain
        ``datasets`` would load whatever files are there.
        """
        files = [{key: value for key, value in record.items() if key != "bytes"} for record in records]
        for split in self.plan.settings.splits:
            name = f"annotations/{split}.parquet"
            with replacing(self.staging / name) as path, parquet_writer(path, self.bare_schema) as writer:
                writer.write_table(self.annotations[split].table.cast(self.bare_schema))
            files.append(file_record(self.staging / name, name))
            if self.plan.shards:
                files.append(self._write_places(split, records))
        space = self.annotations[self.plan.settings.splits[0]].label_space
        space.save(self.staging)
        files.append(file_record(self.staging / FILE_NAME, FILE_NAME))
        if self.index is not None:
            files += [file_record(self.staging / name, name) for name in copy_index(self.index, self.staging)]
        card = render_dataset_card(
            self.plan, self.annotations, records, place=self.place, has_index=self.index is not None
        )
        check_card(self.folder, card, replace=self.replace_card)
        write_text(self.folder / CARD_FILE, card)
        files.append(file_record(self.folder / CARD_FILE, CARD_FILE))
        place(self.staging, self.folder, self.plan.fingerprint)
        manifest = {
            "fingerprint": self.plan.fingerprint,
            "facts": dict(self.plan.facts),
            "title": self.annotations[self.plan.settings.splits[0]].title,
            "annotations_md5": {split: self.annotations[split].md5 for split in self.plan.settings.splits},
            "settings": describe(self.plan.settings),
            "recordings": sum(record["rows"] for record in records),
            "configs": count_rows(self.plan, self.annotations, records),
            "left_out": dict(sorted(count_reasons(records, "left_out").items())),
            "files": files,
        }
        for left in self.folder.rglob(".*.partial"):  # of a run that was killed while it wrote them
            left.unlink(missing_ok=True)
        write_json(self.folder / MANIFEST_FILE, manifest)
        return manifest

    def _write_places(self, split: str, records: list[dict[str, Any]]) -> dict[str, Any]:
        """Where each recording is, so that a reader of a few fetches their row groups alone; the file's record."""
        name = places_file(split)
        shards = [shard for shard in self.plan.shards if shard.split == split]
        known = [{**one, "bytes": one.get("bytes") or located(self.path_of(one["path"]))} for one in records]
        table = places_table(self.annotations[split].table, shards, known)
        with replacing(self.staging / name) as path, parquet_writer(path, PLACES) as writer:
            writer.write_table(table)
        return file_record(self.staging / name, name)

    def _state(self) -> dict[str, Any]:
        """What the bytes depend on besides settings and annotations."""
        return {
            "recordings": self._recordings,
            "code": code_fingerprint(*MADE_BY),
            "libraries": {**versions("pyarrow"), "libsndfile": sf.__libsndfile_version__},
            "features": repr(self.schema.metadata),
        }

    def _check_source(self) -> None:
        """Refuse to complete a mirror whose shards may be of two states of the source."""
        if not self._recordings:
            return
        if changed := changed_facts(self._recordings, audio_state(self.source, self.plan.settings.splits)):
            raise PublishError(
                "the source was changed while it was published", where=self.source.root,
                found=f"another {', '.join(changed)}", expected="one state of it from beginning to end",
                fix=f"Delete {self.folder} and run it again when nothing writes to the source.",
            )  # fmt: skip


def _chosen(annotations: Annotations, select: str) -> Annotations:
    return Selection.from_text(select).apply(annotations) if select else annotations


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.keys() & {"files", "sha256", "facts"} else None
