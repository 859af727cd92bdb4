"""Embeddings of whole recordings as tables, some windows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.audio.hearing import Hearing, heard_windows
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.errors import storable
from hf_inatsounds.inference.embedding import Embedder
from hf_inatsounds.inference.predict import require_numbers

Array = np.ndarray[Any, np.dtype[Any]]
SCHEMA = pa.schema(
    [("file", pa.string()), ("start_s", pa.float64()), ("end_s", pa.float64()), ("embedding", pa.list_(pa.float32()))]
)


def embed_audio(
    embedder: Embedder,
    audio: Any,
    name: str,
    window: WindowSpec,
    hearing: Hearing,
    *,
    batch_size: int = 32,
    channel: int | None = None,
) -> Iterator[tuple[Array, Array]]:
    """Spans (W, 2) in seconds and embeddings (W, D) of a recording, ``batch_size`` windows at a time.

    Args:
        embedder: what embeds.
        audio: as :class:`hf_inatsounds.audio.Recording` takes it.
        name: of the recording.
        window: how it is cut.
        hearing: filled in with what became of it; nothing is raised for a recording.
        batch_size: windows held at once.
        channel: which one, from 0; None for the mean of all.

    Raises:
        CheckpointError: if the model gives embeddings that are no numbers.
        InatSoundsError: if the window is longer than the model's input.
    """
    embedder.check_window(window)
    heard = heard_windows(audio, window, embedder.sampling_rate, hearing, channel=channel)
    while batch := list(islice(heard, batch_size)):
        embedded = require_numbers(embedder.embed([one.waveform for one in batch]), name)
        yield np.array([(one.start_s, one.end_s) for one in batch]), embedded


def as_table(name: str, spans_s: Array, embeddings: Array) -> pa.Table:
    """Windows of one recording: spans (W, 2) in seconds, embeddings (W, D)."""
    columns = [
        pa.array([storable(name)] * len(spans_s)),
        pa.array(spans_s[:, 0]),
        pa.array(spans_s[:, 1]),
        pa.array(list(embeddings.astype(np.float32)), pa.list_(pa.float32())),
    ]
    return pa.table(columns, schema=SCHEMA)
