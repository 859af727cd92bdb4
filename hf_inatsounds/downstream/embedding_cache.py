"""Embeddings of clips, computed once: kept in Parquet files by the content of what they were made from."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_inatsounds.audio import Waveform
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.downstream.clips import Clip, Task, content_digest
from hf_inatsounds.files import replacing
from hf_inatsounds.fingerprints import code_fingerprint, fingerprint, versions
from hf_inatsounds.inference.embedding import Embedder, Kind
from hf_inatsounds.progress import track

CLIPS_A_FILE = 256
"""Clips that are lost at most when a run is killed."""

SECONDS_A_FILE = 20.0
"""Work that is lost at most, but for a clip, however slow the machine."""

WINDOWS_A_PASS = 32
"""Windows that share a forward pass on a GPU, at least. Elsewhere a clip's windows have one of their own: it is about
as quick, and rounding, which moved one clip of ESC-10's 400, then does not depend on where a run was interrupted."""

Array = np.ndarray[Any, np.dtype[Any]]


def default_cache() -> Path:
    """Where embeddings are kept: ``hf_inatsounds/embeddings`` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "hf_inatsounds" / "embeddings"


def embed_task(
    embedder: Embedder, task: Task, indices: Array, cache: Path, *, kind: Kind = "pooled", quiet: bool = False
) -> list[Array]:
    """Embeddings of some of a task's clips, from the cache where they are there.

    Args:
        embedder: the model.
        task: the task.
        indices: (N,) clips.
        cache: folder of the cache.
        kind: as :meth:`Embedder.embed` takes it.
        quiet: no progress bar.

    Returns:
        N arrays (W_i, …) float32, one row a window.

    Raises:
        AudioError: if a recording cannot be read.
    """
    folder = cache / f"{_made_by(embedder)[:16]}-{kind}-{embedder.window.size_s:g}-{embedder.window.stride_s:g}"
    clips = [task.clips[i] for i in indices]
    bar = track(clips, f"{task.name}: {kind}", total=len(clips), quiet=quiet)
    keys = [clip_key(clip) for clip in bar]
    found = dict(_stored(folder, set(keys)))
    missing = [(key, clip) for key, clip in zip(keys, clips, strict=True) if key not in found]
    missing = list({key: (key, clip) for key, clip in missing}.values())
    bar = track(missing, f"{task.name}: embedding", total=len(missing), quiet=quiet or not missing)
    batch: dict[str, Array] = {}
    began = time.monotonic()
    for key, embedding in embed_clips(embedder, bar, kind):
        batch[key] = found[key] = embedding
        if len(batch) == CLIPS_A_FILE or time.monotonic() - began > SECONDS_A_FILE:
            _store(folder, batch)
            batch, began = {}, time.monotonic()
    if batch:
        _store(folder, batch)
    return [found[key] for key in keys]


def _made_by(embedder: Embedder) -> str:
    """SHA-256 of what an embedding depends on besides the clip and the window: model, code, libraries."""
    return fingerprint({
        "model": embedder.digest, "code": code_fingerprint("hf_inatsounds.downstream.embedding_cache"),
        "libraries": versions("torch", "transformers", "numpy", "soundfile", "soxr"),
    })  # fmt: skip


def clip_key(clip: Clip) -> str:
    """A clip's name in the cache: its recording's content, and its span to the microsecond.

    Model, window and code are in the folder's name.
    """
    span = f"{clip.start_s:.6f} {clip.end_s:.6f} {content_digest(clip.audio)}"
    return hashlib.sha256(span.encode()).hexdigest()


def embed_clips(
    embedder: Embedder, clips: Iterable[tuple[str, Clip]], kind: Kind = "pooled"
) -> Iterator[tuple[str, Array]]:
    """Each clip's key and windows, embedded (W, …) float32; on a GPU windows of several clips share a forward pass."""
    waiting: list[tuple[str, list[Waveform]]] = []
    for key, clip in clips:
        waiting.append((key, windows_of(embedder, clip)))
        if not embedder.on_gpu or sum(len(windows) for _, windows in waiting) >= WINDOWS_A_PASS:
            yield from _embedded(embedder, waiting, kind)
            waiting = []
    if waiting:
        yield from _embedded(embedder, waiting, kind)


def windows_of(embedder: Embedder, clip: Clip) -> list[Waveform]:
    """A clip's windows, (T,) float32 each: full ones, the last moved back, or the whole of a shorter clip."""
    with clip.open() as recording:
        waveform = clip.waveform(recording, embedder.sampling_rate)
    # "start": a window of mostly padding would be an odd sample of the clip
    window = WindowSpec(embedder.window.size_s, embedder.window.stride_s, "start")
    return [waveform[start:stop] for start, stop in window.spans(len(waveform), embedder.sampling_rate)]


def _embedded(embedder: Embedder, clips: list[tuple[str, list[Waveform]]], kind: Kind) -> Iterator[tuple[str, Array]]:
    made = embedder.embed([window for _, windows in clips for window in windows], kind)
    ends = np.cumsum([len(windows) for _, windows in clips])
    yield from zip((key for key, _ in clips), np.split(made, ends[:-1]), strict=True)


def window_means(embeddings: list[Array]) -> Array:
    """(N, D): mean over each clip's windows.

    >>> window_means([np.array([[0.0, 2.0], [2.0, 2.0]])])
    array([[1., 2.]])
    """
    return np.stack([one.mean(axis=0) for one in embeddings])


def _store(folder: Path, batch: dict[str, Array]) -> None:
    """A file of clips, whole or not at all; its name is a digest of what it holds."""
    shapes = {value.shape[1:] for value in batch.values()}
    flat = [np.ascontiguousarray(value, np.float32).ravel() for value in batch.values()]
    table = pa.table(
        {
            "key": pa.array(list(batch)),
            "windows": pa.array([len(value) for value in batch.values()], pa.int32()),
            "embedding": pa.array(flat, pa.list_(pa.float32())),
        }
    ).replace_schema_metadata({"shape": ",".join(map(str, shapes.pop()))})
    name = hashlib.sha256("".join(batch).encode()).hexdigest()[:32]
    with replacing(folder / f"{name}.parquet") as path:
        pq.write_table(table, path)


def _stored(folder: Path, wanted: set[str]) -> Iterator[tuple[str, Array]]:
    """What the cache holds of ``wanted``; a file that is damaged counts as not there."""
    for path in sorted(folder.glob("*.parquet")) if wanted and folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        try:
            table = pq.read_table(path)
            shape = [int(n) for n in table.schema.metadata[b"shape"].decode().split(",")]
            for key, n, values in zip(table["key"].to_pylist(), table["windows"].to_pylist(), table["embedding"],
                                      strict=True):  # fmt: skip
                if key in wanted:
                    yield key, values.values.to_numpy(zero_copy_only=False).reshape(n, *shape).astype(np.float32)
        except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, AttributeError):
            continue
