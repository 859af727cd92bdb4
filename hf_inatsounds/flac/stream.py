"""The head of a FLAC file, read without a library: what it says of all its frames, and where they begin.

Source: RFC 9639, section 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_STREAMINFO, _PADDING, _SEEK_TABLE, _COMMENTS = 0, 1, 3, 4
_STREAMINFO_BYTES = 34
_SYNC = b"\xff\xf8"  # of a frame of a file whose blocks are of one size
_SUBTYPES = {8: "PCM_S8", 16: "PCM_16", 24: "PCM_24"}
_MAX_CHANNELS = 2


@dataclass(frozen=True)
class PlainFlac:
    """A FLAC file as encoders write it: blocks of one size, one or two channels of 8, 16 or 24 bits.

    Attributes:
        sampling_rate: in Hz.
        n_channels: 1 or 2.
        n_bits: of a sample.
        n_samples: a channel, as claimed.
        block_samples: a channel in each frame but the last.
        position: of the first frame, in bytes.
    """

    sampling_rate: int
    n_channels: int
    n_bits: int
    n_samples: int
    block_samples: int
    position: int

    @property
    def subtype(self) -> str:
        """Encoding of a sample, as libsndfile names it."""
        return _SUBTYPES[self.n_bits]


def plain_flac(content: Any) -> PlainFlac | None:
    """What the head of a FLAC file says; None where anything about it is unusual.

    Unusual are block sizes that vary, an unknown length, other channels or depths, metadata other than padding, seek
    table and comments, and whatever libFLAC would refuse. All of that is libsndfile's to read.

    Args:
        content: the whole file, bytes or a memory view.

    >>> sizes, packed = bytes.fromhex("10001000") + bytes(6), (22_050 << 44 | 15 << 36 | 50_000).to_bytes(8, "big")
    >>> plain_flac(b"fLaC" + bytes.fromhex("80000022") + sizes + packed + bytes(16) + _SYNC + bytes(99))
    PlainFlac(sampling_rate=22050, n_channels=1, n_bits=16, n_samples=50000, block_samples=4096, position=42)
    """
    if bytes(content[:4]) != b"fLaC":
        return None
    position, info, last = 4, b"", False
    while not last:
        head = bytes(content[position : position + 4])
        if len(head) < 4:
            return None
        last, kind, size = bool(head[0] & 0x80), head[0] & 0x7F, int.from_bytes(head[1:], "big")
        block = content[position + 4 : position + 4 + size]
        if (kind == _STREAMINFO) == bool(info) or not _is_usual(kind, block):
            return None
        info = info or bytes(block)
        position += 4 + size
    follows = bytes(content[position : position + len(_SYNC)])
    return _plain(info, position) if len(info) == _STREAMINFO_BYTES and follows == _SYNC else None


def _is_usual(kind: int, block: Any) -> bool:
    """Whether metadata are of a kind that is passed over, and sound as far as libFLAC looks at it."""
    if kind == _COMMENTS:
        return _comments_fill(block)
    return kind in (_STREAMINFO, _PADDING, _SEEK_TABLE)


def _comments_fill(block: Any) -> bool:
    """Whether the encoder's name, the number of comments, and those, each with its length before it, fill the block."""

    def number(place: int) -> int:
        return int.from_bytes(block[place : place + 4], "little")

    place = 4 + number(0)
    left = number(place)
    place += 4
    while left and place < len(block):
        place += 4 + number(place)
        left -= 1
    return left == 0 and place == len(block)


def _plain(info: bytes, position: int) -> PlainFlac | None:
    """Of the 34 bytes of STREAMINFO."""
    smallest, largest = int.from_bytes(info[0:2], "big"), int.from_bytes(info[2:4], "big")
    packed = int.from_bytes(info[10:18], "big")
    rate, channels = packed >> 44, (packed >> 41 & 7) + 1
    bits, n_samples = (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
    if smallest != largest or largest < 16 or not rate or not n_samples:
        return None
    if channels > _MAX_CHANNELS or bits not in _SUBTYPES:
        return None
    return PlainFlac(rate, channels, bits, n_samples, largest, position)
