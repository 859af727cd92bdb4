"""What is done of many recordings, kept file by file, so that a rerun does only the rest.

A journal stands beside its output, in the folder ``OUT.journal``. Each recording's result is entered as a whole, with
its size and time and with what made it: weights, settings, code. The output is written from the journal at the end, so
that it has the same bytes however often the work was interrupted.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from hf_inatsounds.audio.hearing import Hearing
from hf_inatsounds.errors import InatSoundsError, storable
from hf_inatsounds.fingerprints import changed_facts, file_stamp, fingerprint
from hf_inatsounds.progress import note
from hf_inatsounds.runtime.alone import alone_in

SUFFIX = ".journal"
_FILE = "results.sqlite"
_TABLES = """
create table if not exists makers (id text primary key, facts text not null);
create table if not exists files (
    path text primary key, size integer not null, mtime_ns integer not null, maker text not null, hearing text not null
);
create table if not exists rows (path text, part integer, content blob not null, primary key (path, part));
"""


class Journal:
    """The results of recordings; made by :func:`open_journal`.

    Args:
        connection: to the database.
        maker: fingerprint of what results are made by now.
    """

    def __init__(self, connection: sqlite3.Connection, maker: str) -> None:
        self._database, self._maker = connection, maker

    def recall(self, file: str, hearing: Hearing) -> bool:
        """Whether a recording is done by what is to do it now, and still the same file.

        If so, what became of it is put into ``hearing``.
        """
        query = "select hearing from files where path = ? and size = ? and mtime_ns = ? and maker = ?"
        found = self._database.execute(query, (_key(file), *file_stamp(file), self._maker)).fetchone()
        if found is None:
            return False
        known = json.loads(found[0])
        known["gaps_s"] = tuple(tuple(gap) for gap in known["gaps_s"])
        for field in fields(Hearing):
            setattr(hearing, field.name, known[field.name])
        return True

    def enter(self, file: str, tables: Iterable[pa.Table], hearing: Hearing) -> None:
        """Enter a recording's rows and what became of it, all or nothing.

        A recording of which nothing was heard is not entered: the next run tries it again.

        Args:
            file: the recording.
            tables: its rows in order of time, without the column that names it; taken one by one.
            hearing: complete when ``tables`` ends.
        """
        stamp = file_stamp(file)  # before it is read: a file that grows meanwhile is done again
        with self._database:
            self._database.execute("delete from rows where path = ?", (_key(file),))
            self._database.execute("delete from files where path = ?", (_key(file),))
            for part, table in enumerate(tables):
                self._database.execute("insert into rows values (?, ?, ?)", (_key(file), part, _packed(table)))
            if hearing.status != "failed":
                values = (_key(file), *stamp, self._maker, json.dumps(asdict(hearing)))
                self._database.execute("insert into files values (?, ?, ?, ?, ?)", values)

    def tables(self, file: str) -> Iterator[pa.Table]:
        """A recording's rows, with the column ``file`` first."""
        for (content,) in self._database.execute(
            "select content from rows where path = ? order by part", (_key(file),)
        ):
            table = pa.ipc.open_stream(content).read_all()
            yield table.add_column(0, "file", pa.array([storable(file)] * len(table), pa.string()))


@contextlib.contextmanager
def open_journal(out: str | Path, made_by: Mapping[str, Any], *, quiet: bool = False) -> Iterator[Journal]:
    """The journal of an output, for one process at a time; one in which nothing is entered does not stay.

    What other settings made is replaced recording by recording, so that a command by mistake costs little.

    Args:
        out: the output file.
        made_by: facts by name that a result depends on besides the recording.
        quiet: whether to leave out a line on what is done anew.

    Raises:
        InatSoundsError: if another process writes the same output, or the journal is damaged.
    """
    folder = Path(f"{os.fspath(out)}{SUFFIX}")
    path, maker = folder / _FILE, fingerprint(made_by)
    try:
        with alone_in(folder), contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("pragma synchronous = normal")  # a power cut loses the last ones, and breaks nothing
            connection.executescript(_TABLES)
            with connection:
                connection.execute("insert or ignore into makers values (?, ?)", (maker, json.dumps(dict(made_by))))
            _tell_changes(connection, maker, made_by, quiet)
            try:
                yield Journal(connection, maker)
            finally:
                if not connection.execute("select count(*) from files").fetchone()[0]:
                    path.unlink()
    except sqlite3.Error as error:
        raise InatSoundsError(
            "the journal cannot be used", where=path, found=error,
            fix="Free disk space if the disk is full; otherwise delete it, and all recordings are done again.",
        ) from error  # fmt: skip
    finally:
        with contextlib.suppress(OSError):  # there is something in it
            folder.rmdir()


def _tell_changes(connection: sqlite3.Connection, maker: str, made_by: Mapping[str, Any], quiet: bool) -> None:
    query = "select facts, count(*) from files join makers on maker = id where id != ? group by id order by 2 desc"
    found = connection.execute(query, (maker,)).fetchone()
    if found is not None:
        changed = ", ".join(changed_facts(json.loads(found[0]), made_by))
        note(f"changed since the last run: {changed}; {found[1]} recordings are done again", quiet=quiet)


def _key(file: str) -> str:
    return storable(os.path.abspath(file))


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
