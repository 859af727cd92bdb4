"""WAV headers read and written without a library, and 16-bit PCM samples straight from the bytes where they lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

HEAD_BYTES = 4096
"""Enough for any header met so far; a ``data`` chunk further down is left to libsndfile."""

OPEN_LENGTH = 0xFFFF_FF00
"""From this claimed size on, the writer could not seek back to fill it in, and left it open."""

_PASSED_CHUNKS = (b"LIST", b"fact", b"JUNK", b"bext")
_CHUNKS_BEHIND = (*_PASSED_CHUNKS, b"id3 ", b"ID3 ", b"guan", b"wamd", b"cue ", b"smpl", b"iXML", b"_PMX", b"PEAK")
"""What may follow the samples; where it follows at once, there are none."""

_MAX_CHANNELS = 8


@dataclass(frozen=True)
class PlainWav:
    """Where the samples of a plain 16-bit PCM WAV file are.

    Attributes:
        sampling_rate: in Hz.
        n_channels: interleaved.
        n_samples: a channel.
        position: of the first sample, in bytes.
    """

    sampling_rate: int
    n_channels: int
    n_samples: int
    position: int

    @property
    def subtype(self) -> str:
        """Encoding of a sample, as libsndfile names it."""
        return "PCM_16"

    def samples(self, content: Any, start: int, stop: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Samples [start, stop) as (stop - start, channels) float32 in [-1, 1): value / 32768, as libsndfile gives.

        Args:
            content: the whole file, bytes or a memory view, or its path.
            start: first sample, ≥ 0.
            stop: behind the last one, at most ``n_samples``.
        """
        count = (stop - start) * self.n_channels
        offset = self.position + 2 * self.n_channels * start
        if isinstance(content, str):
            raw = np.fromfile(content, "<i2", count, offset=offset)
        else:
            raw = np.frombuffer(content, "<i2", count, offset)
        return np.multiply(raw, np.float32(1 / 32768), dtype=np.float32).reshape(-1, self.n_channels)


def plain_wav(head: bytes, size: int) -> PlainWav | None:
    """What the header of a plain 16-bit PCM WAV file says; None where anything about it is unusual.

    Unusual is what libraries read differently from each other: another coding, sizes that do not fit the file or
    each other, rare chunks before the samples. All of that is libsndfile's to decide.

    Args:
        head: the file's first ``HEAD_BYTES`` bytes, or all of them.
        size: bytes of the whole file.

    >>> head = b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 22050, 44100, 2, 16)
    >>> plain_wav(head + b"data" + struct.pack("<I", 100), 144)
    PlainWav(sampling_rate=22050, n_channels=1, n_samples=50, position=44)
    """
    layout = None
    for kind, start, claimed in wav_chunks(head):
        if kind == b"data":
            if layout is None:
                return None
            there = wav_data_bytes(head, size)
            if there < claimed < OPEN_LENGTH:
                return None
            claimed = there if claimed == there else there - there % (2 * layout[1])
            if not claimed or claimed % (2 * layout[1]):
                return None
            return PlainWav(*layout, n_samples=claimed // (2 * layout[1]), position=start)
        if kind == b"fmt " and layout is None and claimed == 16 and start + 16 <= len(head):
            layout = _layout(head[start : start + 16])
        elif kind not in _PASSED_CHUNKS:
            return None
        if kind == b"fmt " and layout is None:
            return None
    return None


def wav_chunks(head: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, beginning of the content and claimed size of each chunk of a WAV file; nothing of another file.

    Args:
        head: the file's first bytes, or all of them.

    >>> list(wav_chunks(b"RIFF" + bytes(4) + b"WAVE" + b"LIST" + bytes([2, 0, 0, 0]) + b"xxdata" + bytes(4)))
    [(b'LIST', 20, 2), (b'data', 30, 0)]
    """
    position = 12 if head[:4] == b"RIFF" and head[8:12] == b"WAVE" else len(head)
    while position + 8 <= len(head):
        claimed = int.from_bytes(head[position + 4 : position + 8], "little")
        yield head[position : position + 4], position + 8, claimed
        position += 8 + claimed + claimed % 2


def _layout(chunk: bytes) -> tuple[int, int] | None:
    """Sampling rate and channels of a ``fmt`` chunk of 16 bytes; None unless it is plain 16-bit PCM."""
    coding, channels, rate, byte_rate, align, bits = struct.unpack("<HHIIHH", chunk)
    fits = align == 2 * channels and byte_rate == rate * align
    if coding != 1 or bits != 16 or not 1 <= channels <= _MAX_CHANNELS or not rate or not fits:
        return None
    return rate, channels


def wav_data(head: bytes) -> tuple[int, int, int] | None:
    """Where a WAV file's samples begin, how many bytes its header claims of them, and the bytes of a frame.

    None where there is no ``data`` chunk among the first bytes.

    Args:
        head: the file's first ``HEAD_BYTES`` bytes, or all of them.
    """
    align = 1
    for kind, start, claimed in wav_chunks(head):
        if kind == b"data":
            return start, claimed, align
        if kind == b"fmt " and start + 14 <= len(head):
            align = max(int.from_bytes(head[start + 12 : start + 14], "little"), 1)
    return None


def wav_data_bytes(head: bytes, size: int) -> int:
    """Bytes of samples that a WAV file holds: what its header claims, or what is there where that cannot be.

    A recorder that lost power leaves a size of 0 before its samples, a writer to a pipe leaves it open, and beyond
    4 GiB sizes wrap around.

    Args:
        head: the file's first ``HEAD_BYTES`` bytes, or all of them.
        size: bytes of the whole file.

    >>> head = b"RIFF" + bytes(4) + b"WAVE" + b"data" + bytes(4)
    >>> wav_data_bytes(head + bytes(80), 100), wav_data_bytes(head + b"LIST" + bytes(76), 100)
    (80, 0)
    """
    found = wav_data(head)
    if found is None:
        return 0
    start, claimed, _ = found
    there = max(size - start, 0)
    if claimed >= OPEN_LENGTH or claimed > there:
        return there
    if claimed == 0:
        return 0 if head[start : start + 4] in _CHUNKS_BEHIND else there
    return claimed + ((there - claimed) >> 32 << 32)


def wav_with_size(content: bytes, n_bytes: int) -> bytes:
    """A WAV file whose header claims ``n_bytes`` of samples."""
    found = wav_data(content[:HEAD_BYTES])
    if found is None:
        return content
    start = found[0]
    sizes = struct.pack("<I", start + n_bytes - 8), struct.pack("<I", n_bytes)
    return b"".join([content[:4], sizes[0], content[8 : start - 4], sizes[1], content[start:]])


def wav_header(head: bytes, n_bytes: int) -> bytes:
    """A WAV file's bytes before its samples, claiming ``n_bytes`` of them: as RF64 where 32 bits do not hold that.

    Args:
        head: the file's first ``HEAD_BYTES`` bytes, in which the ``data`` chunk begins.
        n_bytes: of samples.
    """
    found = wav_data(head)
    if found is None:
        return head
    start, _, align = found
    if n_bytes < OPEN_LENGTH:
        return wav_with_size(head[:start], n_bytes)
    chunks = head[12 : start - 4]
    sizes = struct.pack("<IQQQI", 28, start + 36 + n_bytes - 8, n_bytes, n_bytes // align, 0)
    return b"".join([b"RF64", b"\xff" * 4, b"WAVEds64", sizes, chunks, b"\xff" * 4])


def write_wav(
    samples: np.ndarray[Any, np.dtype[np.float32]],
    sampling_rate: int,
    promised: int | None = None,
    *,
    before: bytes = b"",
) -> bytes:
    """A 16-bit mono WAV file.

    Args:
        samples: (T,) in [-1, 1]; what is louder is clipped.
        sampling_rate: in Hz.
        promised: samples that the header claims, where that is more than there are.
        before: chunks between the layout and the samples.

    >>> len(write_wav(np.zeros(5, np.float32), 22_050, promised=9))
    54
    """
    values = np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
    claimed = min(2 * max(promised or 0, len(samples)), OPEN_LENGTH - 2)
    layout = struct.pack("<IHHIIHH", 16, 1, 1, sampling_rate, 2 * sampling_rate, 2, 16)
    head = b"WAVEfmt " + layout + before + b"data" + struct.pack("<I", claimed)
    return b"RIFF" + struct.pack("<I", len(head) + claimed) + head + values
