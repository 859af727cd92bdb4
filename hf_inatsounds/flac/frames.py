"""Headers of FLAC frames in compiled code, and the search for the frame that holds a sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_inatsounds.flac.bits import compiled
from hf_inatsounds.flac.checksums import crc8

INDEPENDENT, LEFT_SIDE, SIDE_RIGHT, MID_SIDE = 0, 8, 9, 10
"""What a frame's channels hold; the first: themselves."""

_RATES_HZ = np.array([0, 88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
_BITS = np.array([0, 8, 12, 0, 16, 20, 24, 32])

NOT_A_FRAME = (np.int64(-1), np.int64(0), np.int64(0), np.int64(0))

GUESSES, TURNS = 8, 48
"""Of the search: turns that guess in proportion, which even frames need one or two of; then halves, 48 at most."""


@compiled
def _byte(data: Any, place: Any) -> Any:
    """One byte as an int64; 0 behind the end."""
    return np.int64(data[place]) if place < data.size else np.int64(0)


@compiled
def _block_samples(data: Any, code: Any, place: Any) -> Any:
    """Samples a channel in the block, and where the header goes on."""
    if code == 1:
        return np.int64(192), place
    if 2 <= code <= 5:
        return np.int64(576) << (code - 2), place
    if code == 6:
        return _byte(data, place) + 1, place + 1
    if code == 7:
        return (_byte(data, place) << 8) + _byte(data, place + 1) + 1, place + 2
    if code >= 8:
        return np.int64(256) << (code - 8), place
    return np.int64(-1), place


@compiled
def _rate_hz(data: Any, code: Any, place: Any, stated: Any) -> Any:
    """Sampling rate, and where the header goes on."""
    if code == 0:
        return stated, place
    if code <= 11:
        return np.int64(_RATES_HZ[code]), place
    if code == 12:
        return _byte(data, place) * 1000, place + 1
    if code == 15:
        return np.int64(-1), place
    value = (_byte(data, place) << 8) + _byte(data, place + 1)
    return (value if code == 13 else value * 10), place + 2


@compiled
def _number(data: Any, place: Any) -> Any:
    """A frame's number, written as UTF-8 writes a character, and where the header goes on."""
    first = _byte(data, place)
    if first < 0x80:
        return first, place + 1
    more = 0
    while more < 6 and first & (0x40 >> more):
        more += 1
    if more < 1 or more > 5:
        return np.int64(-1), place
    value = first & (0x3F >> more)
    for i in range(1, more + 1):
        byte = _byte(data, place + i)
        if byte & 0xC0 != 0x80:
            return np.int64(-1), place
        value = value << 6 | byte & 0x3F
    return value, place + more + 1


@compiled
def header(data: Any, place: Any, layout: Any) -> Any:
    """The frame whose header is at byte ``place``, if there is one and it is as STREAMINFO says.

    Args:
        data: (n,) uint8, the file.
        place: in bytes, ≥ 0.
        layout: (channels, bits, rate in Hz, samples of a block, samples of the recording).

    Returns:
        Number of the frame, what its channels hold, samples a channel, and the byte behind the header; of no such
        frame the number is -1.
    """
    channels, bits, rate, block, total = layout
    if _byte(data, place) != 0xFF or _byte(data, place + 1) != 0xF8:
        return NOT_A_FRAME
    codes, kinds = _byte(data, place + 2), _byte(data, place + 3)
    held, depth = kinds >> 4, _BITS[kinds >> 1 & 7]
    if kinds & 1 or (kinds >> 1 & 7 and depth != bits):
        return NOT_A_FRAME
    if (channels == 1 and held != 0) or (channels == 2 and held != 1 and not LEFT_SIDE <= held <= MID_SIDE):
        return NOT_A_FRAME
    number, after = _number(data, place + 4)
    if number < 0 or number * block >= total:
        return NOT_A_FRAME
    size, after = _block_samples(data, codes >> 4, after)
    found_rate, after = _rate_hz(data, codes & 15, after, rate)
    if size != min(block, total - number * block) or found_rate != rate:
        return NOT_A_FRAME
    if after >= data.size or crc8(data, place, after) != data[after]:
        return NOT_A_FRAME
    return number, (held if held >= LEFT_SIDE else np.int64(INDEPENDENT)), size, np.int64(after + 1)


@compiled
def next_header(data: Any, place: Any, stop: Any, layout: Any) -> Any:
    """The first header in bytes [place, stop): its place, and the frame's number; -1 and -1 where there is none."""
    while place < stop:
        if data[place] == 0xFF:
            number = header(data, place, layout)[0]
            if number >= 0:
                return place, number
        place += 1
    return np.int64(-1), np.int64(-1)


@compiled
def frame_of(data: Any, position: Any, wanted: Any, layout: Any) -> Any:
    """Where frame ``wanted`` begins, in bytes; -1 where that is not to be found by its neighbours' numbers.

    Between two frames whose places are known, the one that is sought is guessed in proportion, a frame and a half
    early, and the next header behind the guess becomes one of the two.
    """
    low, low_number = position, header(data, position, layout)[0]
    if low_number != 0:
        return np.int64(-1)
    high, high_number = np.int64(data.size), -(-layout[4] // layout[3])
    for turn in range(TURNS):
        if low_number == wanted:
            return low
        share = (wanted - low_number - 1.5) / (high_number - low_number) if turn < GUESSES else 0.5
        guess = low + max(np.int64((high - low) * share), 1)
        place, number = next_header(data, guess, high, layout)
        while 0 <= number < wanted and wanted - number <= 3:  # from here on it is nearer to go than to guess
            low, low_number = place, number
            place, number = next_header(data, place + 4, high, layout)
        if number == wanted:
            return place
        if number < 0 or number > wanted:
            high, high_number = (guess, high_number) if number < 0 else (place, number)
            if guess <= low + 1:
                return np.int64(-1)
        elif number > low_number:
            low, low_number = place, number
        else:
            return np.int64(-1)
    return np.int64(-1)
