"""Embeddings of whole recordings as a Parquet table, written as they come."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.audio import Recording
from hf_inatsounds.downstream.embedding import Embedder
from hf_inatsounds.errors import storable
from hf_inatsounds.windows import WindowSpec

Array = np.ndarray[Any, np.dtype[Any]]
SCHEMA = pa.schema(
    [("file", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("embedding", pa.list_(pa.float32()))]
)


def embed_file(
    embedder: Embedder, file: str, window: WindowSpec, *, batch_size: int = 32
) -> Iterator[tuple[Array, Array]]:
    """Spans (W, 2) in seconds and embeddings (W, D) of a recording, ``batch_size`` windows at a time.

    Raises:
        AudioError: if it is missing, empty or unreadable.
        InatSoundsError: if the window is longer than the model's input.
    """
    embedder.check_window(window)
    with Recording(file) as recording:
        rate = recording.info.sampling_rate
        spans = window.spans(recording.info.n_samples, rate)
        for first in range(0, len(spans), batch_size):
            seconds = [(start / rate, stop / rate) for start, stop in spans[first : first + batch_size]]
            windows = [recording.read(start, stop - start, embedder.sampling_rate) for start, stop in seconds]
            yield np.array(seconds), embedder.embed(windows)


class EmbeddingTable:
    """A Parquet file of windows that grows; memory holds one batch."""

    def __init__(self, path: str | Path) -> None:
        self.rows, self.dimensions = 0, 0
        self._writer = pq.ParquetWriter(path, SCHEMA)

    def add(self, file: str, spans_s: Array, embeddings: Array) -> None:
        """Windows of one file: spans (W, 2), embeddings (W, D)."""
        columns = [
            pa.array([storable(file)] * len(spans_s)),
            pa.array(spans_s[:, 0]),
            pa.array(spans_s[:, 1]),
            pa.array(list(embeddings.astype(np.float32)), pa.list_(pa.float32())),
        ]
        self._writer.write_table(pa.table(columns, schema=SCHEMA))
        self.rows, self.dimensions = self.rows + len(spans_s), embeddings.shape[1]

    def __enter__(self) -> EmbeddingTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._writer.close()
