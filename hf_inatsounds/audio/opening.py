"""Recordings opened by libsndfile, with their length put right where a header or libsndfile has it wrong."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile as sf

from hf_inatsounds.audio import mp3, ogg
from hf_inatsounds.audio.wav import OPEN_LENGTH, wav_data, wav_data_bytes, wav_header
from hf_inatsounds.errors import encodable

_W64_HEAD = 104
"""Bytes before the samples of the shortest W64 file."""


@dataclass(frozen=True)
class Opened:
    """An open file.

    Attributes:
        file: a ``soundfile.SoundFile``, or what reads like one.
        promised_samples: a channel, where the header promised more than there is.
        is_whole: whether everything in it can be reached and nothing was damaged, as far as opening it shows.
        gaps: damaged stretches that ``file`` has silence in place of, in samples, ascending.
    """

    file: Any
    promised_samples: int = 0
    is_whole: bool = True
    gaps: tuple[tuple[int, int], ...] = ()


def opened(content: Any, head: bytes, size: int) -> Opened:
    """Open a recording.

    Args:
        content: the file in memory, or its path.
        head: its first bytes.
        size: bytes of the whole file.

    Raises:
        soundfile.LibsndfileError, OSError, RuntimeError: if that fails.
    """
    found = wav_data(head)
    if found is not None and (n_bytes := wav_data_bytes(head, size)) != found[1]:
        if n_bytes < found[1] < OPEN_LENGTH:  # libsndfile reads to the end by itself
            return Opened(_ReadOnce(_stream(content)), promised_samples=found[1] // found[2], is_whole=False)
        if found[1] < OPEN_LENGTH or n_bytes >= OPEN_LENGTH:
            header = wav_header(head, n_bytes)
            return Opened(_ReadOnce(io.BufferedReader(Reheaded(header, _stream(content, "rb"), found[0]))))
    if mp3.is_mp3(head) and (counted := mp3.counted(_whole(content))) is not None:
        promised = counted.promised_frames or 0
        is_whole = not counted.lost and promised <= counted.n_frames
        file = _ReadOnce(io.BytesIO(counted.content))
        return Opened(file, 0 if is_whole else promised * counted.samples_per_frame, is_whole, counted.gaps)
    if head[:4] == b"OggS":
        found_pages = ogg.checked(_whole(content))
        if not found_pages.is_whole or len(found_pages.runs) > 1:
            made = ogg.OggFile(found_pages)
            return Opened(made, 0, made.is_whole, made.gaps)
    claimed = claimed_bytes(head)
    if head[:4] == b"riff" and claimed is not None and _W64_HEAD < claimed < size:  # else what follows is sound, too
        return Opened(_ReadOnce(io.BufferedReader(Reheaded(b"", _stream(content, "rb"), 0, claimed))))
    if head[:4] == b"caff" and claimed is not None and claimed > size:  # libsndfile refuses it
        start = head.index(b"data") + 12
        header = head[: start - 8] + (size - start).to_bytes(8, "big") + head[start : start + 4]
        file = _ReadOnce(io.BufferedReader(Reheaded(header, _stream(content, "rb"), start + 4)))
    else:
        file = _ReadOnce(_stream(content))
    if claimed is not None and claimed > size + 1:  # an odd chunk may lack its padding
        return Opened(file, int(file.frames * claimed / size), is_whole=False)
    return Opened(file)


def claimed_bytes(head: bytes) -> int | None:
    """The size of the whole file by the header of AIFF, W64, RF64, AU or CAF; None of others, and where it is open.

    >>> claimed_bytes(b"FORM" + (92).to_bytes(4, "big") + b"AIFF")
    100
    """
    if head[:4] == b"FORM":
        return 8 + int.from_bytes(head[4:8], "big")
    if head[:4] == b"riff":
        return int.from_bytes(head[16:24], "little")
    if head[:4] == b"RF64" and head[12:16] == b"ds64":
        return 8 + int.from_bytes(head[20:28], "little")
    if head[:4] == b".snd" and head[8:12] != b"\xff" * 4:
        return int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
    if head[:4] == b"caff":
        at = 8
        while at + 12 <= len(head):
            kind, n_bytes = head[at : at + 4], int.from_bytes(head[at + 4 : at + 12], "big", signed=True)
            if kind == b"data" or n_bytes < 0:
                return None if n_bytes < 0 else at + 12 + n_bytes
            at += 12 + n_bytes
    return None


class _ReadOnce(sf.SoundFile):
    """Is not sought after a read, as soundfile does, to where it already is: FLAC then decodes some frames anew."""

    def seekable(self) -> bool:  # what soundfile asks before it does so
        return False


class Reheaded(io.RawIOBase):
    """A file with another header before its samples, which are neither copied nor read before they are asked for.

    Args:
        header: what comes first.
        stream: the file.
        start: of the samples in it, in bytes.
        stop: of what is read of it; None for all.
    """

    def __init__(self, header: bytes, stream: Any, start: int, stop: int | None = None) -> None:
        self._header, self._stream, self._start = header, stream, start
        self._position = 0
        self._size = len(header) + (stream.seek(0, io.SEEK_END) if stop is None else stop) - start

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As any file's."""
        self._position = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as the header or the samples go."""
        if self._position < len(self._header):
            piece = self._header[self._position : self._position + len(buffer)]
        else:
            self._stream.seek(self._position - len(self._header) + self._start)
            piece = self._stream.read(max(min(len(buffer), self._size - self._position), 0))
        buffer[: len(piece)] = piece
        self._position += len(piece)
        return len(piece)

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()


def _stream(content: Any, mode: str = "") -> Any:
    """What libsndfile opens; with a ``mode``, a file object in any case."""
    if not isinstance(content, str):
        return io.BytesIO(content)
    if mode:
        return open(content, mode)  # closed with the recording
    return content if encodable(content) == content else os.fsencode(content)  # soundfile encodes a text strictly


def _whole(content: Any) -> bytes:
    return Path(content).read_bytes() if isinstance(content, str) else bytes(content)
