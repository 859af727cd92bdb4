"""A recording as libsndfile decodes it: block by block, past damage, and MP3 in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile as sf

from hf_inatsounds import flac
from hf_inatsounds.audio.opening import opened
from hf_inatsounds.errors import AudioError

MAX_SAMPLES = 1 << 28
"""One read gives so many at most, 1 GiB: 3.4 hours at 22,050 Hz. Longer recordings are read window by window."""

BLOCK_SAMPLES = 1 << 20
"""Decoded at a time: what a header claims is never allocated before it was there."""

STEP_SAMPLES = 4096
"""Read at a time beside damage, and the first step over it; the next are twice as long each."""

Waveform = np.ndarray[Any, np.dtype[np.float32]]
NOTHING: Waveform = np.zeros(0, np.float32)


class FileDecoder:
    """An open file.

    Args:
        content: the file in memory, or its path.
        head: its first bytes.
        size: bytes of the whole file.
        name: for errors.
        mono: makes (T,) of (T, channels).

    Attributes:
        file: the open ``soundfile.SoundFile``.
        n_samples: that can be read, a channel; becomes less where the file turns out to end before.
        promised_samples: that the header promised, where that is more.
        is_whole: whether nothing is missing, as far as is known.
        gaps: damaged stretches that were met and read as silence, in samples.

    Raises:
        AudioError: if it cannot be opened.
    """

    def __init__(self, content: Any, head: bytes, size: int, name: str, mono: Callable[[Any], Waveform]) -> None:
        self._content, self._head, self._size = content, head, size
        self.name, self._mono = name, mono
        self.promised_samples, self.is_whole = 0, True
        self.gaps: list[tuple[int, int]] = []
        self._tail: tuple[int, Waveform] = (0, NOTHING)
        self.file = self._open()
        self.n_samples = int(self.file.frames)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _open(self) -> Any:
        try:
            made = opened(self._content, self._head, self._size)
        except (sf.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
        self.promised_samples, self.is_whole = made.promised_samples, made.is_whole
        return made.file

    def read(self, start: int, stop: int) -> list[Waveform]:
        """Mono samples [start, stop) in pieces of at most BLOCK_SAMPLES values, to where the recording ends."""
        size = max(BLOCK_SAMPLES // self.file.channels, 1)
        blocks: list[Waveform] = []
        if self.file.format == "FLAC":
            flac.count_read(stop - start)
        if self.file.format == "MP3":
            start = self._in_order(start, blocks)
        try:
            if self.file.format != "MP3":
                self.file.seek(start)
            while start < stop:
                asked = min(size, stop - start)
                block = self._mono(self.file.read(asked, dtype="float32", always_2d=True))
                blocks.append(block)
                start += len(block)
                if len(block) < asked:
                    break
                if len(blocks) * size > MAX_SAMPLES:
                    raise too_long(self.name, stop)
        except (sf.LibsndfileError, RuntimeError) as error:
            blocks += self._beside_damage(start, stop, error)
        if self.file.format == "MP3":
            self._tail = (start, np.concatenate([NOTHING, *blocks]))
        return blocks

    def _in_order(self, start: int, blocks: list[Waveform]) -> int:
        """Go to ``start`` by decoding what is before it, since an MP3 frame depends on those before; what was decoded
        last is kept, and goes into ``blocks``. Returns where decoding goes on.
        """
        at, tail = self._tail
        if at - len(tail) <= start < at or start == at:
            blocks += [tail[len(tail) - (at - start) :]] if start < at else []
            return at
        if start < at:
            self.file.close()
            self.file, at = self._open(), 0
        while at < start:
            passed = len(self.file.read(min(BLOCK_SAMPLES // self.file.channels, start - at), dtype="float32"))
            if not passed:
                break
            at += passed
        return at

    def _beside_damage(self, start: int, stop: int, error: Exception) -> list[Waveform]:
        """Mono samples [start, stop) around what cannot be decoded, which is read as silence and noted in ``gaps``.

        Raises:
            AudioError: if nothing can be decoded from the recording's beginning on.
        """
        blocks: list[Waveform] = []
        at, step = start, 0
        while at < stop:
            block = self._piece(at + step, min(STEP_SAMPLES, stop - at - step)) if at + step < stop else NOTHING
            if len(block):
                if step:
                    blocks.append(np.zeros(step, np.float32))
                    self.gaps.append((at, at + step))
                blocks.append(block)
                at, step = at + step + len(block), 0
                continue
            step = 2 * step or STEP_SAMPLES
            if at + step < stop:
                continue
            if self._goes_on(stop, step):
                blocks.append(np.zeros(stop - at, np.float32))
                self.gaps.append((at, stop))
                return blocks
            if at == 0:
                raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
            self.n_samples = at
            return blocks
        return blocks

    def _piece(self, start: int, count: int) -> Waveform:
        """Up to ``count`` samples, none where they cannot be decoded; a decoder that failed has to be opened anew."""
        self.file.close()
        self.file = self._open()
        try:
            self.file.seek(start)
            return self._mono(self.file.read(count, dtype="float32", always_2d=True))
        except (sf.LibsndfileError, RuntimeError):
            return NOTHING

    def _goes_on(self, start: int, step: int) -> bool:
        """Whether anything can be decoded from ``start`` on."""
        at = start
        while at < self.n_samples:
            if len(self._piece(at, min(STEP_SAMPLES, self.n_samples - at))):
                return True
            at, step = at + step, 2 * step
        return False


def too_long(name: str, n_samples: int) -> AudioError:
    """What a read of more than ``MAX_SAMPLES`` raises."""
    return AudioError(
        "too long for one read",
        where=name,
        found=f"{n_samples:,} samples",
        expected=f"{MAX_SAMPLES:,} at most",
        fix="Read it window by window.",
    )


def _reason(error: Exception) -> str:
    return getattr(error, "error_string", None) or str(error) or type(error).__name__
