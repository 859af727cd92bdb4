"""A split scored into a folder: in blocks that survive a kill, by one process or several, in bounded memory.

``scoring/`` holds ``plan.json``, what is being scored, and one file per finished block. When all are there they are
joined in the order of recordings, row group by row group, and removed.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.audio.defects import DefectLog, Inspection
from hf_inatsounds.audio.digests import write_digests
from hf_inatsounds.audio.hearing import Hearing
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.rows import Row, Scored
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.files import replacing, write_json
from hf_inatsounds.fingerprints import changed_facts, read_record
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.scoring.matrices import ROWS, as_matrix
from hf_inatsounds.scoring.recordings import BLOCK, score_block
from hf_inatsounds.scoring.scores import COLUMN_OF, check_manifest, write_scores

Array = np.ndarray[Any, np.dtype[Any]]

WORK, PLAN_FILE = "scoring", "plan.json"

FEWEST_BLOCKS = 8
"""Of a split, where it has as many recordings: so many processes find something to do in a small one, too."""


def block_size(n_recordings: int) -> int:
    """Recordings a block of a split; nothing else decides on it, so that any number of processes can go on.

    >>> block_size(49_527), block_size(76), block_size(3)
    (256, 10, 1)
    """
    return max(min(BLOCK, math.ceil(n_recordings / FEWEST_BLOCKS)), 1)


@dataclass(frozen=True)
class Blocks:
    """The blocks of a split that is being scored.

    Attributes:
        folder: where they are.
        plan: what they depend on, in JSON's types; blocks of another plan are thrown away.
        size: recordings a block.
    """

    folder: Path
    plan: dict[str, Any]
    size: int = BLOCK

    def prepare(self) -> list[str]:
        """Keep the finished blocks of this very plan, nothing else.

        Returns:
            Facts of the plan that have changed since what was there was scored; nothing where nothing was there.
        """
        before = read_record(self.folder / PLAN_FILE)
        changed = changed_facts(before, self._plan())
        if changed:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(self.folder / PLAN_FILE, self._plan())
        return changed if before else []

    def _plan(self) -> dict[str, Any]:
        return {**self.plan, "block": self.size}

    def path(self, number: int, kind: str) -> Path:
        """A block's file of a kind, "scores" or "windows"."""
        return self.folder / f"{number:06d}.{kind}.arrow"

    def count(self, n_rows: int) -> int:
        """Blocks of so many rows."""
        return math.ceil(n_rows / self.size)

    def score(
        self,
        classifier: Classifier,
        rows: Scored,
        window: WindowSpec,
        classes: Array,
        *,
        batch_size: int,
        numbers: Iterable[int],
        read: Callable[[], None] = lambda: None,
    ) -> None:
        """Score those of some blocks that are missing; no other block's recordings are read where the source can.

        Args:
            classifier: what scores.
            rows: all rows of the split.
            window: how recordings are cut.
            classes: that take part.
            batch_size: windows per forward pass.
            numbers: of the blocks, ascending.
            read: is called after each recording that is read.
        """
        missing = [number for number in numbers if not self.path(number, "scores").exists()]
        parts = rows.parts([(number * self.size, (number + 1) * self.size) for number in missing])
        for number, part in zip(missing, parts, strict=True):
            block = tuple(_told(part, read))
            if not block:
                continue
            scores, log = score_block(classifier, block, window, classes=classes, batch_size=batch_size)
            table, windows = scores.tables()
            about = {**table.schema.metadata, b"inspections": _as_json(log).encode()}
            _write(self.path(number, "windows"), windows)
            _write(self.path(number, "scores"), table.replace_schema_metadata(about))  # last: the block is whole

    def join(self, out: Path, about: dict[str, Any]) -> DefectLog:
        """Write ``scores.parquet``, ``windows.parquet`` and the manifest from all blocks; remove them."""
        numbers = [int(path.name.split(".")[0]) for path in sorted(self.folder.glob("*.scores.arrow"))]
        tables = [self._table(number, "scores") for number in numbers]
        if not tables:
            raise ScoresError("nothing to score", where="the dataset", found="no recording")
        log = DefectLog()
        for table in tables:
            log.add(_from_json(table.schema.metadata[b"inspections"].decode()))
        windows = pa.concat_tables([self._table(number, "windows") for number in numbers])
        order = np.argsort(windows["recording_id"].to_numpy(), kind="stable")
        found = {"defects": log.report(), "digests_sha256": write_digests(out, log)}
        write_scores(out, _in_order(tables), windows.take(order), {**about, "plan": self.plan, **found})
        shutil.rmtree(self.folder, ignore_errors=True)
        return log

    def _table(self, number: int, kind: str) -> pa.Table:
        with pa.memory_map(str(self.path(number, kind))) as source, pa.ipc.open_file(source) as reader:
            return reader.read_all()


def _told(rows: Iterable[Row], read: Callable[[], None]) -> Iterator[Row]:
    for row in rows:
        yield row
        read()


def finished(out: Path, plan: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """The manifest of whole scores that were made by this very plan, or why those that are there are of no use.

    Args:
        out: folder of scores.
        plan: what they must depend on, in JSON's types.

    Returns:
        The manifest; None where there are no such scores. Facts of the plan that have changed since.
    """
    try:
        manifest = check_manifest(out)
        changed = changed_facts(manifest["plan"], plan)
        return (manifest if manifest["defects"] and not changed else None), changed
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None, []  # none yet, damaged, or of an earlier version: made again


def _in_order(tables: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Rows of all tables by recording, a row group at a time; the tables stay on disk, memory-mapped.

    By hand, since Arrow's take over so many tables was measured a third slower, at half as much memory again.
    """
    ids = np.concatenate([table["recording_id"].to_numpy() for table in tables])
    owner = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    row = np.concatenate([np.arange(table.num_rows) for table in tables])
    schema = tables[0].schema
    about = {b"classes": schema.metadata[b"classes"]}
    n_classes = len(json.loads(about[b"classes"]))
    order = np.argsort(ids, kind="stable")
    small = pa.concat_tables([table.select(["recording_id", "label", "latitude", "longitude"]) for table in tables])
    for first in range(0, len(order), ROWS):
        chosen = order[first : first + ROWS]
        columns: dict[str, Any] = dict(zip(small.column_names, small.take(chosen).columns, strict=True))
        for name in COLUMN_OF.values():
            if name not in schema.names:
                continue
            matrix = np.empty((len(chosen), n_classes), np.float32)
            for i in np.unique(owner[chosen]).tolist():
                mine = owner[chosen] == i
                matrix[mine] = as_matrix(tables[i][name], n_classes)[row[chosen][mine]]
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), n_classes)
        yield pa.table(columns).replace_schema_metadata(about)


def _write(path: Path, table: pa.Table) -> None:
    with (
        replacing(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def _as_json(log: DefectLog) -> str:
    return json.dumps([{**asdict(one), "digest": one.digest and one.digest.hex()} for one in log.seen.values()])


def _from_json(text: str) -> list[Inspection]:
    found = []
    for one in json.loads(text):
        if (hearing := one.pop("hearing")) is not None:
            hearing["gaps_s"] = tuple((start, stop) for start, stop in hearing["gaps_s"])
            hearing = Hearing(**hearing)
        digest = one["digest"] and bytes.fromhex(one["digest"])
        found.append(Inspection(**{**one, "digest": digest, "kinds": tuple(one["kinds"]), "hearing": hearing}))
    return found
