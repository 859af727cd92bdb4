"""Stand-ins: a second of silence in place of a recording that cannot be decoded. Their bytes say what they are."""

from __future__ import annotations

import functools
import struct

from hf_inatsounds.schema import SAMPLING_RATE_HZ

STAND_IN_S = 1.0
"""Long enough for every feature extractor and model, short enough to carry around."""

STAND_IN_KINDS = ("empty", "unreadable")
"""Kinds of recordings that have a stand-in."""


@functools.lru_cache(maxsize=len(STAND_IN_KINDS))
def stand_in(kind: str) -> bytes:
    """A WAV file of ``STAND_IN_S`` of silence whose comment names what it stands for.

    Any decoder reads it; :class:`hf_inatsounds.audio.Recording` refuses it as it refuses what it stands for.

    Args:
        kind: one of ``STAND_IN_KINDS``.

    >>> stand_in_kind(stand_in("empty"), len(stand_in("empty")))
    'empty'
    """
    samples = bytes(2 * round(STAND_IN_S * SAMPLING_RATE_HZ))
    header = _header(kind)
    return b"".join([header[:4], struct.pack("<I", len(header) + len(samples) - 8), header[8:], samples])


def stand_in_kind(head: bytes, size: int) -> str | None:
    """What a file is a stand-in for, None where it is none.

    Args:
        head: the file's first bytes.
        size: bytes of the whole file.
    """
    if head[:4] != b"RIFF":
        return None
    for kind in STAND_IN_KINDS:
        if size == len(stand_in(kind)) and head[8 : len(_header(kind))] == _header(kind)[8:]:
            return kind
    return None


@functools.lru_cache(maxsize=len(STAND_IN_KINDS))
def _header(kind: str) -> bytes:
    """Everything before the samples; bytes 4 to 8, the file's size, are left open."""
    comment = f"hf_inatsounds: silence in place of a recording ({kind})".encode() + b"\0"
    comment += b"\0" * (len(comment) % 2)
    info = b"INFOICMT" + struct.pack("<I", len(comment)) + comment
    layout = struct.pack("<IHHIIHH", 16, 1, 1, SAMPLING_RATE_HZ, 2 * SAMPLING_RATE_HZ, 2, 16)
    n_bytes = 2 * round(STAND_IN_S * SAMPLING_RATE_HZ)
    chunks = [b"RIFF", bytes(4), b"WAVEfmt ", layout, b"LIST", struct.pack("<I", len(info)), info]
    return b"".join([*chunks, b"data", struct.pack("<I", n_bytes)])
