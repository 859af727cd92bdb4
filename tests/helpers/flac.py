"""FLAC files written bit by bit: what the format allows and libFLAC's encoder never makes."""

import numpy as np

RATE = 22_050
BLOCK = 256


class Bits:
    """A string of bits, most significant first."""

    def __init__(self) -> None:
        self.text = ""

    def put(self, value: int, count: int) -> "Bits":
        self.text += format(value & ((1 << count) - 1), f"0{count}b") if count else ""
        return self

    def unary(self, value: int) -> "Bits":
        self.text += "0" * value + "1"
        return self

    def rice(self, value: int, k: int) -> "Bits":
        code = 2 * value if value >= 0 else -2 * value - 1
        return self.unary(code >> k).put(code, k)

    def bytes(self) -> bytes:
        text = self.text + "0" * (-len(self.text) % 8)
        return bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))


def checksum(content: bytes, polynomial: int, bits: int) -> int:
    value = 0
    for byte in content:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> (bits - 1) else 0)
            value &= (1 << bits) - 1
    return value


def residual_of(samples: np.ndarray, coefficients: list[int], shift: int) -> list[int]:
    """What a predictor leaves of all samples but the first ``len(coefficients)``."""
    order = len(coefficients)
    return [
        int(samples[i]) - (sum(c * int(samples[i - 1 - j]) for j, c in enumerate(coefficients)) >> shift)
        for i in range(order, len(samples))
    ]


def lpc_subframe(
    samples: np.ndarray, bits: int, coefficients: list[int], shift: int, *, k: int | None, partitions: int = 0
) -> Bits:
    """A subframe with its own predictor; ``k`` None writes its residuals escaped."""
    order, out = len(coefficients), Bits()
    out.put(0, 1).put(32 + order - 1, 6).put(0, 1)
    for sample in samples[:order]:
        out.put(int(sample), bits)
    out.put(14, 4).put(shift, 5)
    for coefficient in coefficients:
        out.put(coefficient, 15)
    residual = residual_of(samples, coefficients, shift)
    out.put(1, 2).put(partitions, 4)
    size = len(samples) >> partitions
    for part in range(1 << partitions):
        piece = residual[max(part * size - order, 0) : (part + 1) * size - order]
        if k is None:
            width = max((abs(value).bit_length() for value in piece), default=0) + 1 if any(piece) else 0
            out.put(31, 5).put(width, 5)
            for value in piece:
                out.put(value, width)
        else:
            out.put(k, 5)
            for value in piece:
                out.rice(value, k)
    return out


def frame(number: int, size: int, assignment: int, subframes: list[Bits]) -> bytes:
    """A frame of few enough that its number takes a byte."""
    head = bytes([0xFF, 0xF8, 0x70, assignment << 4, number, (size - 1) >> 8, (size - 1) & 0xFF])
    head += bytes([checksum(head, 0x07, 8)])
    body = Bits()
    for one in subframes:
        body.text += one.text
    whole = head + body.bytes()
    return whole + checksum(whole, 0x8005, 16).to_bytes(2, "big")


def flac_file(frames: list[bytes], n_samples: int, *, channels: int = 1, bits: int = 16, block: int = BLOCK) -> bytes:
    """A file of frames that were written with those properties."""
    packed = RATE << 44 | (channels - 1) << 41 | (bits - 1) << 36 | n_samples
    info = block.to_bytes(2, "big") * 2 + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC" + bytes([0x80, 0, 0, 34]) + info + b"".join(frames)
