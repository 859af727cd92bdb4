"""A split's rows by number: what training and scoring read, wherever the rows are."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.audio.encoded import embedded
from hf_inatsounds.data.passed_over import PassedOver
from hf_inatsounds.errors import SourceError
from hf_inatsounds.progress import note

NEEDED = ("recording_id", "audio", "label", "file_name")
"""Columns that training reads."""

SCORING = (*NEEDED, "latitude", "longitude")
"""Columns that scoring reads."""

Row = dict[str, Any]
Part = tuple[int, int]
"""Numbers of rows, from … to."""
Array = np.ndarray[Any, np.dtype[np.int64]]


class Scored(Protocol):
    """Rows that can be scored."""

    def __len__(self) -> int:
        """How many there are, at most."""

    def parts(self, parts: Sequence[Part]) -> Iterator[Iterator[Row]]:
        """The rows of each part, each with ``SCORING``. Parts ascend, and each is read before the next is asked for."""


class Rows(Scored, Protocol):
    """Rows by number."""

    @property
    def known(self) -> pa.Table:
        """(N,) the columns of ``SCORING`` but ``audio``: no recording is read for them."""

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """These rows, each with ``NEEDED``; the audio encoded as ``{"bytes", "path"}``."""

    def begin(self, numbers: Sequence[int]) -> None:
        """Begin to read rows that :meth:`take` will be asked for next, where a source can."""

    def order(self, generator: np.random.Generator, step_items: int) -> Array:
        """A permutation of the numbers in which the rows are read at a good rate.

        Args:
            generator: decides on it.
            step_items: rows of an optimiser step, of all processes together.
        """

    def labels(self) -> Array:
        """(N,) labels of all rows, by number."""


def known_columns(table: pa.Table, names: Iterable[str] = SCORING) -> pa.Table:
    """The columns that need no recording to be read."""
    return table.select([name for name in names if name != "audio"]).combine_chunks()


def labels_of(table: pa.Table) -> Array:
    """(N,) int64."""
    return table["label"].to_numpy().astype(np.int64)


class ArrowRows:
    """Rows of a prepared ``datasets.Dataset``, taken a batch at a time, the bytes not copied once more.

    Args:
        rows: the dataset, its ``audio`` not decoded.
    """

    def __init__(self, rows: Any) -> None:
        names = set(rows.column_names)
        self._rows = rows.select_columns([name for name in SCORING if name in names]).with_format("arrow")

    @property
    def known(self) -> pa.Table:
        """As :meth:`Rows.known`."""
        return self._rows.remove_columns("audio")[:]

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`Rows.take`."""
        return rows_of(self._rows[list(numbers)])

    def begin(self, numbers: Sequence[int]) -> None:
        """Nothing is far away."""

    def order(self, generator: np.random.Generator, step_items: int) -> Array:
        """All orders cost the same."""
        return generator.permutation(len(self))

    def labels(self) -> Array:
        """As :meth:`Rows.labels`."""
        return labels_of(self._rows.with_format("arrow", columns=["label"])[:])

    def parts(self, parts: Sequence[Part]) -> Iterator[Iterator[Row]]:
        """As :meth:`Rows.parts`."""
        for part in parts:
            yield (row for number in range(*_within(part, len(self))) for row in self.take([number]))


class KnownRows:
    """Rows of which everything but the recordings is in memory.

    Args:
        table: (N,) with the columns of ``SCORING`` but ``audio``, in the order of the numbers.
    """

    def __init__(self, table: pa.Table) -> None:
        self._known = known_columns(table)

    @property
    def known(self) -> pa.Table:
        """As :meth:`Rows.known`."""
        return self._known

    def __len__(self) -> int:
        return int(self._known.num_rows)

    def labels(self) -> Array:
        """As :meth:`Rows.labels`."""
        return labels_of(self._known)


class FolderRows(KnownRows):
    """Rows of an unpacked tree; of a WAV file only the windows asked for are read, and nothing is copied.

    Recordings that are not there, and links out of their folder, are passed over.

    Args:
        rows: a table with the columns of ``SCORING`` but ``audio``.
        source: the folder.
    """

    def __init__(self, rows: pa.Table, source: Source) -> None:
        self._folder, met, there = Path(source.root), PassedOver(), []
        for number, name in enumerate(rows["file_name"].to_pylist()):
            if not (self._folder / name).is_file():
                met.add("annotated recordings are not in the folder", name)
            elif source.leads_out(name):
                met.add("recordings are links out of their folder and were passed over", name)
            else:
                there.append(number)
        met.warn(source.root)
        super().__init__(rows.take(pa.array(there, pa.int64())))

    def take(self, numbers: Sequence[int]) -> list[Row]:
        """As :meth:`Rows.take`, with paths in place of bytes."""
        rows = self.known.take(pa.array(numbers, pa.int64())).to_pylist()
        return [{**row, "audio": {"bytes": None, "path": str(self._folder / row["file_name"])}} for row in rows]

    def begin(self, numbers: Sequence[int]) -> None:
        """Nothing is far away."""

    def order(self, generator: np.random.Generator, step_items: int) -> Array:
        """All orders cost the same."""
        return generator.permutation(len(self))

    def parts(self, parts: Sequence[Part]) -> Iterator[Iterator[Row]]:
        """As :meth:`Rows.parts`."""
        for part in parts:
            yield (self._whole(row) for row in self.take(range(*_within(part, len(self)))))

    @staticmethod
    def _whole(row: Row) -> Row:
        """A row with its recording's bytes: who scores opens no path that a row names."""
        try:
            content = Path(row["audio"]["path"]).read_bytes()
        except OSError as error:
            raise SourceError("cannot read a recording", where=row["audio"]["path"], found=error.strerror) from error
        return {**row, "audio": {"bytes": content, "path": row["file_name"]}}


class ForwardRows:
    """Rows of an archive without an index: from front to back, as far as the last one that is asked for.

    Args:
        rows: a ``datasets.IterableDataset``, its ``audio`` not decoded.
        n_rows: how many it has at most, as the annotations say.
    """

    def __init__(self, rows: Any, n_rows: int) -> None:
        self._rows, self._n_rows = rows.select_columns(list(SCORING)), n_rows

    def __len__(self) -> int:
        return self._n_rows

    def parts(self, parts: Sequence[Part]) -> Iterator[Iterator[Row]]:
        """As :meth:`Rows.parts`, a row at a time; what is between two parts is read, and passed over."""
        rows, at = iter(self._rows), 0
        for start, stop in parts:
            deque(islice(rows, start - at), maxlen=0)
            yield islice(rows, stop - start)
            at = stop


def say_read_by_each(rows: Scored, n_processes: int, *, quiet: bool) -> None:
    """Tell who has several processes read an archive without an index what that costs, before it is paid."""
    if n_processes > 1 and isinstance(rows, ForwardRows):
        note(
            f"without a seek index each of {n_processes} processes reads the archive from its beginning: "
            f"{n_processes} times its bytes. hf-inatsounds index SOURCE --out DIR, and --index DIR, divide it.",
            quiet=quiet,
        )  # fmt: skip


def _within(part: Part, n: int) -> Part:
    return min(part[0], n), min(part[1], n)


def rows_of(table: pa.Table) -> list[Row]:
    """Rows of an Arrow table; the encoded bytes are views of its memory.

    >>> audio = pa.array([{"bytes": b"RIFF", "path": "a.wav"}])
    >>> rows_of(pa.table({"label": [3], "audio": audio}))[0]["audio"]["bytes"].tobytes()
    b'RIFF'
    """
    plain = table.drop_columns(["audio"]).to_pylist()
    rows: list[Row] = []
    for row, audio in zip(plain, (one for chunk in table["audio"].chunks for one in encoded_audio(chunk)), strict=True):
        rows.append({**row, "audio": audio})
    return rows


def encoded_audio(chunk: pa.StructArray) -> list[dict[str, Any]]:
    """``{"bytes", "path"}`` of each, the bytes as views."""
    contents, paths = chunk.field("bytes"), chunk.field("path").to_pylist()
    buffers = [contents[i].as_buffer() for i in range(len(contents))]
    return [
        embedded({"bytes": None if buffer is None else memoryview(buffer), "path": path})
        for buffer, path in zip(buffers, paths, strict=True)
    ]
