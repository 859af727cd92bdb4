"""Recordings opened by libsndfile, with their length put right where a header or libsndfile has it wrong."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import soundfile as sf

from hf_inatsounds.audio import mp3, ogg
from hf_inatsounds.errors import encodable
from hf_inatsounds.wav import OPEN_LENGTH, wav_data, wav_data_bytes, wav_with_size


@dataclass(frozen=True)
class Opened:
    """An open file.

    Attributes:
        file: a ``soundfile.SoundFile``, or what reads like one.
        promised_samples: a channel, where the header promised more than there is.
        is_whole: whether everything in it can be reached and nothing was damaged, as far as opening it shows.
    """

    file: Any
    promised_samples: int = 0
    is_whole: bool = True


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
    if found is not None and (n_bytes := wav_data_bytes(head, size)) != found[1] and n_bytes < OPEN_LENGTH:
        if found[1] < OPEN_LENGTH and n_bytes < found[1]:  # libsndfile reads to the end by itself
            return Opened(_ReadOnce(_stream(content)), promised_samples=found[1] // found[2], is_whole=False)
        return Opened(_ReadOnce(io.BytesIO(wav_with_size(_whole(content), n_bytes))))
    if mp3.is_mp3(head) and (counted := mp3.counted(_whole(content))) is not None:
        promised = counted.promised_frames or 0
        is_whole = not counted.lost_frames and promised <= counted.n_frames
        file = _ReadOnce(io.BytesIO(counted.content))
        return Opened(file, 0 if is_whole else promised * counted.samples_per_frame, is_whole)
    file = _ReadOnce(_stream(content))
    if file.format == "OGG":
        whole = _whole(content)
        spans = ogg.links(whole)
        if len(spans) > 1:
            file.close()
            chain = ogg.ChainedFile(whole, spans)
            return Opened(chain, is_whole=chain.is_whole and not ogg.is_cut(whole))
        return Opened(file, is_whole=not ogg.is_cut(whole))
    claimed = claimed_bytes(head)
    if claimed is not None and claimed > size + 1:  # an odd chunk may lack its padding
        return Opened(file, int(file.frames * claimed / size), is_whole=False)
    return Opened(file)


def claimed_bytes(head: bytes) -> int | None:
    """The size of the whole file by the header of AIFF, W64, RF64 or AU; None of others, and where it is left open.

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
    return None


class _ReadOnce(sf.SoundFile):
    """Is not sought after a read, as soundfile does, to where it already is: FLAC then decodes some frames anew."""

    def seekable(self) -> bool:  # what soundfile asks before it does so
        return False


def _stream(content: Any) -> Any:
    if not isinstance(content, str):
        return io.BytesIO(content)
    return content if encodable(content) == content else os.fsencode(content)  # soundfile encodes a text strictly


def _whole(content: Any) -> bytes:
    return Path(content).read_bytes() if isinstance(content, str) else bytes(content)
