"""Recordings written anew as WAV, since their own coding is damaged: a comment says where they are silent for that."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_inatsounds.audio.wav import write_wav

_COMMENT = b"hf_inatsounds: damaged, silent at samples "
_MOST = 100
"""Stretches that are told, so that the header stays short; of more, neighbours become one."""

Gaps = list[tuple[int, int]]


def write_anew(
    samples: np.ndarray[Any, np.dtype[np.float32]], sampling_rate: int, promised: int, gaps: Sequence[tuple[int, int]]
) -> bytes:
    """A 16-bit mono WAV file of what can be heard of a recording.

    Args:
        samples: (T,) in [-1, 1].
        sampling_rate: in Hz.
        promised: samples that the original's header told; where that is more than T the file counts as truncated.
        gaps: damaged stretches, in samples, ascending.

    >>> told_gaps(write_anew(np.zeros(9, np.float32), 22_050, 9, [(2, 5)]))
    [(2, 5)]
    """
    if not gaps:
        return write_wav(samples, sampling_rate, promised)
    every = -(-len(gaps) // _MOST)
    parts = [gaps[i : i + every] for i in range(0, len(gaps), every)]
    text = _COMMENT + b" ".join(b"%d-%d" % (part[0][0], part[-1][1]) for part in parts) + b"\0"
    text += b"\0" * (len(text) % 2)
    info = b"INFOICMT" + struct.pack("<I", len(text)) + text
    return write_wav(samples, sampling_rate, promised, before=b"LIST" + struct.pack("<I", len(info)) + info)


def told_gaps(head: bytes) -> Gaps:
    """Where such a file is silent for damage, in samples; nothing of any other.

    Args:
        head: the file's first bytes.
    """
    at = head.find(_COMMENT) if head[:4] == b"RIFF" else -1
    if at < 0:
        return []
    text = head[at + len(_COMMENT) :].split(b"\0", 1)[0]
    return [(int(start), int(stop)) for start, stop in re.findall(rb"(\d{1,15})-(\d{1,15})", text)]
