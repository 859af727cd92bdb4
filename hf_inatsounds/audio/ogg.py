"""OGG files: pages checked, and chained files, of which libsndfile reads the first stream alone."""

from __future__ import annotations

import bisect
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
class Run:
    """Pages of a stream that follow each other without one missing.

    Attributes:
        content: they, behind the pages that their stream begins with: a file by itself.
        link: number of the stream in the file.
        position: at their end, in the stream's own count of samples.
        is_first: whether they are their stream's first.
    """

    content: bytes
    link: int
    position: int
    is_first: bool


@dataclass(frozen=True)
class Checked:
    """What a file's pages tell.

    Attributes:
        runs: its undamaged parts.
        is_whole: whether no page is damaged or missing, and the last says that its stream ends there.
    """

    runs: list[Run]
    is_whole: bool


def checked(content: bytes) -> Checked:
    """Check a file's pages; a stream begins where a page that says so follows one that does not."""
    runs: list[Run] = []
    is_whole, link, head, body = True, -1, b"", b""
    is_first = True
    before: Page | None = None
    for page in [*pages(content), None]:
        if page is not None and not page.is_sound:
            is_whole = False
            continue
        begins = page is None or (page.flags & _BEGINS and not (before is not None and before.flags & _BEGINS))
        jumps = page is not None and not begins and before is not None and page.number != before.number + 1
        if before is not None and (begins or jumps):
            if body:
                runs.append(Run(head + body, link, before.position, is_first))
            is_whole, is_first, body = is_whole and not jumps, not jumps, b""
        if page is None:
            break
        if begins:
            link, head = link + 1, b""
        if page.position > 0:
            body += content[page.start : page.stop]
        elif body:  # a packet goes on for longer than the page
            body += content[page.start : page.stop]
            page = replace(page, position=before.position if before is not None else 0)
        else:
            head += content[page.start : page.stop]
        before = page
    return Checked(runs, is_whole and before is not None and bool(before.flags & _ENDS))


class OggFile:
    """The runs of a file as one recording, silent where there is none; what this package asks of ``SoundFile``.

    A stream that cannot be opened, or has another sampling rate, ends it.

    Args:
        checked_pages: of the file.

    Attributes:
        is_whole: whether nothing is missing.
        gaps: between runs, in samples.

    Raises:
        soundfile.LibsndfileError: if nothing can be opened.
    """

    format = "OGG"

    def __init__(self, checked_pages: Checked) -> None:
        self._files: list[sf.SoundFile] = []
        self._spans: list[tuple[int, int]] = []
        self.is_whole = checked_pages.is_whole
        link, base = 0, 0
        for run in checked_pages.runs:
            try:
                one = sf.SoundFile(io.BytesIO(run.content))
            except (sf.LibsndfileError, RuntimeError):
                self.is_whole = False
                continue
            if self._files and one.samplerate != self.samplerate:
                self.is_whole = False
                break
            if run.link != link:
                link, base = run.link, self.frames
            stop = _samples(run, one)
            if run.is_first:  # a stream may be cut out of a longer one, and count from that one's beginning
                base, stop = base + one.frames - stop, one.frames
            stop = max(base + stop, self.frames + one.frames)
            self._files.append(one)
            self._spans.append((stop - one.frames, stop))
        if not self._files:
            raise sf.LibsndfileError(0, "no undamaged page: ")
        ends = [0, *(stop for _, stop in self._spans)]
        starts = [start for start, _ in self._spans]
        self.gaps = tuple((end, start) for end, start in zip(ends, starts, strict=False) if end < start)
        self._position = 0

    @property
    def samplerate(self) -> int:
        """In Hz."""
        return int(self._files[0].samplerate)

    @property
    def channels(self) -> int:
        """Of the first stream; another one's are averaged."""
        return int(self._files[0].channels)

    @property
    def subtype(self) -> str:
        """Encoding."""
        return str(self._files[0].subtype)

    @property
    def frames(self) -> int:
        """Samples per channel, gaps included."""
        return self._spans[-1][1] if self._spans else 0

    def seek(self, start: int) -> int:
        """Go to a sample."""
        self._position = start
        return start

    def read(self, count: int, *, dtype: str, always_2d: bool = True) -> Any:
        """(≤ ``count``, channels) samples from the position on."""
        pieces = []
        while count > 0 and self._position < self.frames:
            i = bisect.bisect_right(self._spans, self._position, key=lambda span: span[1])
            start, stop = self._spans[i]
            if self._position < start:
                piece = np.zeros((min(count, start - self._position), self.channels), np.float32)
            else:
                self._files[i].seek(self._position - start)
                piece = self._files[i].read(min(count, stop - self._position), dtype=dtype, always_2d=True)
            if not len(piece):
                break
            if piece.shape[1] != self.channels:
                piece = np.repeat(piece.mean(axis=1, keepdims=True, dtype=np.float32), self.channels, axis=1)
            pieces.append(piece)
            self._position += len(piece)
            count -= len(piece)
        return np.concatenate(pieces) if pieces else np.zeros((0, self.channels), np.float32)

    def close(self) -> None:
        """Close all runs."""
        for one in self._files:
            one.close()


def _samples(run: Run, file: sf.SoundFile) -> int:
    """A run's end in its stream, in samples of the recording."""
    if file.subtype != "OPUS":
        return run.position
    at = run.content.find(b"OpusHead")
    skipped = int.from_bytes(run.content[at + 10 : at + 12], "little")
    return round((run.position - skipped) * file.samplerate / OPUS_RATE_HZ)
