"""Damaged and odd recordings, made at run time: what recorders, downloads and disks leave behind."""

import io
import struct

import numpy as np
import soundfile as sf

RATE = 22_050
SECONDS = 6.0


def tone(seconds: float = SECONDS, rate: int = RATE) -> np.ndarray:
    t = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * 1_000 * t) + 0.01 * np.random.default_rng(0).standard_normal(len(t))


def encoded(form: str, subtype: str, seconds: float = SECONDS, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, tone(seconds, rate), rate, format=form, subtype=subtype)
    return buffer.getvalue()


def holed(content: bytes, at: float, size: int) -> bytes:
    """``content`` with zeros at a share of its length."""
    start = int(len(content) * at)
    return content[:start] + bytes(size) + content[start + size :]


def odd_recordings() -> dict[str, tuple[bytes, str | None]]:
    """Name → (file, what the ``defect`` column says of it)."""
    wav, flac = encoded("WAV", "PCM_16"), encoded("FLAC", "PCM_16")
    ogg, mp3 = encoded("OGG", "VORBIS"), encoded("MP3", "MPEG_LAYER_III", rate=44_100)
    long = encoded("WAV", "PCM_24")
    floats = encoded("WAV", "FLOAT")
    middle = floats.index(b"data") + 8 + 4 * round(SECONDS / 2 * RATE)
    with_header = {
        "no samples": (wav[:4] + struct.pack("<I", 36) + wav[8:40] + bytes(4), "empty"),
        "header alone": (wav[:44], "empty"),
        "one byte of samples": (wav[:45], "empty"),
        "cut in a header": (wav[:20], "unreadable"),
        "cut within a sample": (wav[: len(wav) // 2 + 1], "truncated"),
        "cut": (wav[: len(wav) // 2], "truncated"),
        "no channels": (wav[:22] + bytes(2) + wav[24:], "unreadable"),
        "no rate": (wav[:24] + bytes(4) + wav[28:], "unreadable"),
        "one sample a second": (wav[:24] + struct.pack("<I", 1) + wav[28:], "unreadable"),
        "four thousand million samples a second": (wav[:24] + b"\xff" * 4 + wav[28:], "unreadable"),
        "a size of 0 before the samples": (wav[:40] + bytes(4) + wav[44:], None),
        "24 bits, a size of 0": (long[:40] + bytes(4) + long[44:], None),
        "trailing garbage": (wav + b"garbage!" * 100, None),
        "a hundred samples": (encoded("WAV", "PCM_16", seconds=100 / RATE), None),
        "24 bits": (encoded("WAV", "PCM_24"), None),
        "24 bits, cut within a sample": (encoded("WAV", "PCM_24")[:-1], "truncated"),
        "float": (floats, None),
        "float, then no numbers": (floats[:middle] + struct.pack("<f", np.nan) + floats[middle + 4 :], "truncated"),
    }
    compressed = {
        "FLAC": (flac, None),
        "FLAC, cut": (flac[: len(flac) // 2], "truncated"),
        "FLAC, holed": (holed(flac, 0.8, 300), "truncated"),
        "FLAC, header alone": (flac[:42], "unreadable"),
        "OGG": (ogg, None),
        "OGG, chained": (ogg + encoded("OGG", "VORBIS"), None),
        "OGG, holed": (holed(ogg, 0.5, 300), "truncated"),
        "MP3": (mp3, None),
        "MP3 behind cover art": (b"ID3\x03\0\0" + bytes([0, 6, 26, 0]) + bytes(101_632) + mp3, None),
        "MP3, cut": (mp3[: len(mp3) // 2], "truncated"),
        "MP3, holed": (holed(mp3, 0.5, 3_000), "truncated"),
        "OGG, cut": (ogg[: len(ogg) // 2], "truncated"),
        "AIFF": (encoded("AIFF", "PCM_16"), None),
        **{f"{form}, cut": (encoded(form, "PCM_16")[:150_001], "truncated") for form in ("AIFF", "W64", "RF64", "AU")},
    }
    nothing = {
        "no bytes": (b"", "empty"),
        "an error page": (b"<html>503</html>", "unreadable"),
        "zeros": (bytes(100_000), "unreadable"),
    }
    return {**with_header, **compressed, **nothing}
