"""Chained OGG files: several streams one after the other, of which libsndfile reads the first alone."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile as sf


def links(content: bytes) -> list[tuple[int, int]]:
    """Beginning and end of each link, in bytes: where a page that begins a stream follows one that does not."""
    starts: list[int] = []
    position, began = content.find(b"OggS"), False
    while 0 <= position <= len(content) - 27:
        begins = bool(content[position + 5] & 2)
        if begins and not began:
            starts.append(position)
        began = begins
        n_segments = content[position + 26]
        body = sum(content[position + 27 : position + 27 + n_segments])
        position = content.find(b"OggS", position + 27 + n_segments + body)
    return list(zip(starts, [*starts[1:], len(content)], strict=True))


def is_cut(content: bytes) -> bool:
    """Whether the last page does not say that its stream ends there."""
    last = content.rfind(b"OggS")
    return last >= 0 and not (last + 6 <= len(content) and content[last + 5] & 4)


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
