"""MP3 frames counted instead of believed; a header that is wrong or missing is put right in memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_BITRATES = {
    3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG 1, layer III, kbit/s
    2: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    0: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_FIXED = 0xFFFE0C00
"""Bits of a frame's header that are the same in a whole file: sync, version, layer, sampling rate."""

_ROOMY_INDEX = 9
"""Bitrate of a made frame: 128 kbit/s, long enough for its fields."""


@dataclass(frozen=True)
class Counted:
    """An MP3 file as its frames have it.

    Attributes:
        content: the file, or a copy with the right header and silent frames in place of damaged ones.
        n_frames: frames with sound, silent ones included.
        promised_frames: what the header promised, None where it does not say.
        lost: first and number of those that were damaged, about, of each stretch.
        samples_per_frame: a channel.
    """

    content: bytes
    n_frames: int
    promised_frames: int | None
    lost: tuple[tuple[int, int], ...]
    samples_per_frame: int

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Damaged stretches, in samples."""
        return tuple((first * self.samples_per_frame, (first + n) * self.samples_per_frame) for first, n in self.lost)


def counted(content: bytes) -> Counted | None:
    """Count the frames of an MP3 file, and put its header right where it is not; None where there are none."""
    first = _next_frame(content, _after_id3(content), None)
    if first is None:
        return None
    position, header = first
    spans, lost = _frames(content, position, header & _FIXED)
    version = header >> 19 & 3
    per_frame = 1152 if version == 3 else 576
    tag = _tag(content[slice(*spans[0])], header)
    promised = None if tag is None else tag[1]
    n_frames = len(spans) + sum(n for _, n in lost) - (tag is not None)
    if promised == n_frames and not lost:
        return Counted(content, n_frames, promised, (), per_frame)
    pieces = [content[start:stop] for start, stop in spans]
    silent = _silent(header)
    for i, n in reversed(lost):
        pieces[i:i] = [silent] * n
    if tag is not None:
        pieces[0] = _patched(pieces[0], tag[0], n_frames, sum(map(len, pieces)))
    else:
        pieces.insert(0, _info_frame(header, n_frames))
    made: list[tuple[int, int]] = []
    for behind, n in lost:  # those before it were made too, and the first holds no sound
        made.append((behind - (tag is not None) + sum(one for _, one in made), n))
    return Counted(b"".join(pieces), n_frames, promised, tuple(made), per_frame)


def is_mp3(head: bytes) -> bool:
    """Whether a file begins as MP3 files do: with a tag, or a frame.

    Args:
        head: its first bytes, at least four.
    """
    return head[:3] == b"ID3" or (len(head) >= 4 and bool(_length(_header(head, 0))))


def _after_id3(content: bytes) -> int:
    """Where the frames may begin: behind tags, such as cover art of some hundred kB."""
    position = 0
    while content[position : position + 3] == b"ID3" and position + 10 <= len(content):
        a, b, c, d = content[position + 6 : position + 10]
        position += 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if content[position + 5] & 0x10 else 0)
    return position


def _length(header: int) -> int:
    """Bytes of the frame with this header; 0 where it is none of layer III."""
    version, layer, index, rate = header >> 19 & 3, header >> 17 & 3, header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer != 1 or not 0 < index < 15 or rate == 3:
        return 0
    factor = 144 if version == 3 else 72
    return factor * 1000 * _BITRATES[version][index] // _RATES[version][rate] + (header >> 9 & 1)


def _header(content: bytes, position: int) -> int:
    return int.from_bytes(content[position : position + 4], "big")


def _next_frame(content: bytes, position: int, fixed: int | None) -> tuple[int, int] | None:
    """Position and header of the next frame that another one, or the end, follows."""
    while 0 <= (position := content.find(b"\xff", position)) <= len(content) - 4:
        header = _header(content, position)
        length = _length(header) if fixed is None or header & _FIXED == fixed else 0
        if length and position + length <= len(content):
            after = position + length
            follows = _header(content, after) if after + 4 <= len(content) else header
            if _length(follows) and follows & _FIXED == header & _FIXED:
                return position, header
        position += 1
    return None


def _frames(content: bytes, position: int, fixed: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Spans of whole frames, and (number of the frame behind it, frames that fit) of each damaged stretch."""
    spans: list[tuple[int, int]] = []
    lost: list[tuple[int, int]] = []
    size = len(content)
    while position + 4 <= size:
        header = _header(content, position)
        length = _length(header) if header & _FIXED == fixed else 0
        if length:
            if position + length > size:
                break
            spans.append((position, position + length))
            position += length
            continue
        found = _next_frame(content, position + 1, fixed)
        if found is None:
            break
        typical = (spans[-1][1] - spans[0][0]) / len(spans)
        missing = round((found[0] - position) / typical)
        if missing:
            lost.append((len(spans), missing))
        position = found[0]
    return spans, lost


def _side_bytes(header: int) -> int:
    is_mono, version = header >> 6 & 3 == 3, header >> 19 & 3
    if version == 3:
        return 17 if is_mono else 32
    return 9 if is_mono else 17


def _tag(frame: bytes, header: int) -> tuple[int, int | None] | None:
    """Where in the first frame its fields are, and the number of frames that they tell; None where it holds sound."""
    at = 4 + _side_bytes(header)
    if frame[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    return at, int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else None


def _patched(frame: bytes, at: int, n_frames: int, n_bytes: int) -> bytes:
    """The first frame with the right numbers of frames and bytes."""
    made = bytearray(frame)
    flags = int.from_bytes(frame[at + 4 : at + 8], "big")
    if not flags & 1:
        return _info_frame(_header(frame, 0), n_frames)
    made[at + 8 : at + 12] = struct.pack(">I", n_frames)
    if flags & 2:
        made[at + 12 : at + 16] = struct.pack(">I", n_bytes)
    return bytes(made)


def _roomy(header: int) -> int:
    """The header of a frame without checksum and padding, of ``_ROOMY_INDEX``'s length."""
    return header & ~(15 << 12 | 1 << 9) | _ROOMY_INDEX << 12 | 1 << 16


def _silent(header: int) -> bytes:
    """A frame of silence: all fields of its side information are zero."""
    made = _roomy(header)
    return struct.pack(">I", made) + bytes(_length(made) - 4)


def _info_frame(header: int, n_frames: int) -> bytes:
    made = bytearray(_silent(header))
    at = 4 + _side_bytes(header)
    made[at : at + 12] = b"Info" + struct.pack(">II", 1, n_frames)
    return bytes(made)
