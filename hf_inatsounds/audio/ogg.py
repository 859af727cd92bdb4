"""OGG files: pages checked and mended, and chained files, of which libsndfile reads the first stream alone."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile as sf

_HEAD = 27
_BEGINS, _ENDS = 2, 4
_REVERSED = bytes(int(f"{i:08b}"[::-1], 2) for i in range(256))
OPUS_RATE_HZ = 48_000
"""Opus counts in this rate, whatever the recording's is."""


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        start: in the file, in bytes.
        stop: behind its last byte.
        flags: whether it begins or ends a stream.
        position: samples of the stream up to its end, by its own count; -1 where no packet ends in it.
        number: in its stream.
        is_sound: whether its checksum is right.
    """

    start: int
    stop: int
    flags: int
    position: int
    number: int
    is_sound: bool


def pages(content: bytes) -> Iterator[Page]:
    """The pages of a file, in order; what lies between them is passed over."""
    start = content.find(b"OggS")
    while 0 <= start <= len(content) - _HEAD:
        n_segments = content[start + 26]
        stop = start + _HEAD + n_segments + sum(content[start + _HEAD : start + _HEAD + n_segments])
        page = content[start:stop]
        is_sound = stop <= len(content) and page[22:26] == _checksum(page)
        position, number = int.from_bytes(page[6:14], "little", signed=True), int.from_bytes(page[18:22], "little")
        yield Page(start, stop, page[5], position, number, is_sound)
        # a damaged page may claim any length: the next one is looked for behind its first bytes
        follows = is_sound or stop == len(content) or content[stop : stop + 4] == b"OggS"
        start = content.find(b"OggS", stop if follows else start + 4)


def _checksum(page: bytes) -> bytes:
    """CRC-32 of a page without its own, most significant bit first: zlib's of the reversed bits, reversed."""
    crc = zlib.crc32((page[:22] + bytes(4) + page[26:]).translate(_REVERSED), 0xFFFF_FFFF) ^ 0xFFFF_FFFF
    return int(f"{crc:032b}"[::-1], 2).to_bytes(4, "little")


@dataclass(frozen=True)
class Mended:
    """A file whose pages are all taken by a decoder.

    Attributes:
        content: the file, or a copy in which damaged pages have the right checksum, so that what follows keeps its
            time; without it decoders drop them, and may take the recording to begin behind them.
        links: beginning and end of each stream, in bytes.
        damaged: of the first stream, what damaged pages and missing ones held, in its own count of samples.
        n_samples: of the first stream, in the same count.
        is_whole: whether no page is damaged or missing, and the last says that its stream ends there.
    """

    content: bytes
    links: list[tuple[int, int]]
    damaged: list[tuple[int, int]]
    n_samples: int
    is_whole: bool


def mended(content: bytes) -> Mended:
    """Check a file's pages.

    A stream begins where a page that says so follows one that does not.
    """
    found = list(pages(content))
    made = bytearray()
    copied, position, n_samples, is_whole = 0, 0, 0, True
    starts: list[int] = []
    damaged: list[tuple[int, int]] = []
    before: Page | None = None
    for i, page in enumerate(found):
        end = page.position
        if page.flags & _BEGINS and page.is_sound:
            if before is None or not before.flags & _BEGINS:
                starts.append(page.start)
            position = 0
        elif not page.is_sound:
            is_whole = False
            following = next((one.position for one in found[i + 1 :] if one.is_sound), -1)
            if position <= end <= following:  # else its header is damaged too
                made += content[copied : page.start + 22] + _checksum(content[page.start : page.stop])
                copied = page.start + 26
            else:
                end = following
        if not page.is_sound or (before is not None and page.number not in (before.number + 1, 0)):
            is_whole = False
            if len(starts) == 1 and end > position:
                damaged.append((position, end))
        position, before = max(position, end), page
        n_samples = position if len(starts) == 1 else n_samples
    made = made + content[copied:] if copied else made
    links = list(zip(starts, [*starts[1:], len(content)], strict=True))
    ends = before is not None and before.is_sound and bool(before.flags & _ENDS)
    return Mended(bytes(made) or content, links, damaged, n_samples, is_whole and ends)


def opus_skip(content: bytes) -> int:
    """Samples at ``OPUS_RATE_HZ`` that come before an Opus stream's first."""
    at = content.find(b"OpusHead")
    return int.from_bytes(content[at + 10 : at + 12], "little") if at >= 0 else 0


class ChainedFile:
    """The links of a chained file as one recording; what this package asks of ``soundfile.SoundFile``.

    A link that cannot be opened, or has another sampling rate, ends it.

    Args:
        content: the file.
        spans: beginnings and ends of its links.
    """

    format = "OGG"

    def __init__(self, content: bytes, spans: list[tuple[int, int]]) -> None:
        self._files: list[sf.SoundFile] = []
        self.is_whole = True
        for start, stop in spans:
            try:
                one = sf.SoundFile(io.BytesIO(content[start:stop]))
            except (sf.LibsndfileError, RuntimeError):
                if not self._files:
                    raise
                self.is_whole = False
                break
            if self._files and one.samplerate != self.samplerate:
                self.is_whole = False
                break
            self._files.append(one)
        self._ends = np.cumsum([one.frames for one in self._files])
        self._position = 0

    @property
    def samplerate(self) -> int:
        """In Hz."""
        return int(self._files[0].samplerate)

    @property
    def channels(self) -> int:
        """Of the first link; another one's are averaged."""
        return int(self._files[0].channels)

    @property
    def subtype(self) -> str:
        """Encoding."""
        return str(self._files[0].subtype)

    @property
    def frames(self) -> int:
        """Samples a channel of all links."""
        return int(self._ends[-1])

    def seek(self, start: int) -> int:
        """Go to a sample."""
        self._position = start
        return start

    def read(self, count: int, *, dtype: str, always_2d: bool) -> Any:
        """(≤ ``count``, channels) samples from the position on."""
        pieces = []
        while count > 0 and self._position < self.frames:
            i = int(np.searchsorted(self._ends, self._position, side="right"))
            self._files[i].seek(self._position - (int(self._ends[i - 1]) if i else 0))
            piece = self._files[i].read(min(count, int(self._ends[i]) - self._position), dtype=dtype, always_2d=True)
            if not len(piece):
                break
            if piece.shape[1] != self.channels:
                piece = np.repeat(piece.mean(axis=1, keepdims=True, dtype=np.float32), self.channels, axis=1)
            pieces.append(piece)
            self._position += len(piece)
            count -= len(piece)
        return np.concatenate(pieces) if pieces else np.zeros((0, self.channels), np.float32)

    def close(self) -> None:
        """Close all links."""
        for one in self._files:
            one.close()
