"""The two checksums of a FLAC frame: CRC-8 of its header, CRC-16 of all of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from hf_inatsounds.flac.bits import compiled, load

STRIDE = 16
"""Bytes that the CRC-16 takes at a time, each with a table of its own."""


def crc_table(polynomial: int, bits: int) -> np.ndarray[Any, Any]:
    """What each byte makes of a checksum that was 0.

    >>> crc_table(0x07, 8)[:4].tolist()
    [0, 7, 14, 9]
    """
    top, mask = 1 << (bits - 1), (1 << bits) - 1
    table = np.zeros(256, np.uint64)
    for byte in range(256):
        value = byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ (polynomial if value & top else 0)) & mask
        table[byte] = value
    return table


def _strided(table: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(STRIDE, 256): row i is what a byte makes of the checksum when i zero bytes follow it."""
    rows = [table]
    for _ in range(STRIDE - 1):
        rows.append(((rows[-1] << np.uint64(8)) & np.uint64(0xFFFF)) ^ table[rows[-1] >> np.uint64(8)])
    return np.stack(rows).astype(np.uint16)


CRC8 = crc_table(0x07, 8).astype(np.uint8)
CRC16 = _strided(crc_table(0x8005, 16))


@compiled
def crc8(data: Any, first: Any, stop: Any) -> Any:
    """CRC-8 (polynomial 0x07) of bytes [first, stop)."""
    value = np.uint8(0)
    for i in range(first, stop):
        value = CRC8[value ^ data[i]]
    return value


@compiled
def crc16(data: Any, first: Any, stop: Any) -> Any:
    """CRC-16 (polynomial 0x8005) of bytes [first, stop), as a uint64."""
    value = np.uint64(0)
    place = first
    low = np.uint64(0xFF)
    while place + np.uint64(STRIDE) <= stop:
        a = load(data, place) ^ (value << np.uint64(48))
        b = load(data, place + np.uint64(8))
        value = np.uint64(
            CRC16[15, a >> np.uint64(56)]
            ^ CRC16[14, (a >> np.uint64(48)) & low]
            ^ CRC16[13, (a >> np.uint64(40)) & low]
            ^ CRC16[12, (a >> np.uint64(32)) & low]
            ^ CRC16[11, (a >> np.uint64(24)) & low]
            ^ CRC16[10, (a >> np.uint64(16)) & low]
            ^ CRC16[9, (a >> np.uint64(8)) & low]
            ^ CRC16[8, a & low]
            ^ CRC16[7, b >> np.uint64(56)]
            ^ CRC16[6, (b >> np.uint64(48)) & low]
            ^ CRC16[5, (b >> np.uint64(40)) & low]
            ^ CRC16[4, (b >> np.uint64(32)) & low]
            ^ CRC16[3, (b >> np.uint64(24)) & low]
            ^ CRC16[2, (b >> np.uint64(16)) & low]
            ^ CRC16[1, (b >> np.uint64(8)) & low]
            ^ CRC16[0, b & low]
        )
        place += np.uint64(STRIDE)
    while place < stop:
        top = (value >> np.uint64(8)) ^ np.uint64(data[place])
        value = ((value << np.uint64(8)) & np.uint64(0xFFFF)) ^ np.uint64(CRC16[0, top])
        place += np.uint64(1)
    return value
