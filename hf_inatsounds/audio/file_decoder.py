"""A recording as libsndfile decodes it: block by block, around damage, and MP3 in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile as sf

from hf_inatsounds.audio.opening import Opened, opened
from hf_inatsounds.errors import AudioError

MAX_SAMPLES = 1 << 28
"""One read gives so many at most, 1 GiB: 3.4 hours at 22,050 Hz. Longer recordings are read window by window."""

BLOCK_SAMPLES = 1 << 20
"""Decoded at a time: what a header claims is never allocated before it was there."""

STEP_SAMPLES = 4096
"""Read at a time beside damage, and stepped over at a time: the length of a FLAC frame, usually."""

FINE_STEPS = 64
"""After so many, 12 s at 22,050 Hz, each step is as long as all before it."""

Waveform = np.ndarray[Any, np.dtype[np.float32]]
NOTHING: Waveform = np.zeros(0, np.float32)


class FileDecoder:
    """An open file.

    Where decoding meets damage, all of the file is decoded once to find out what is damaged, so that every window, and
    everybody who reads it, agrees on that. MP3 and OGG show it when they are opened.

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
        gaps: damaged stretches that are known, in samples, ascending; they are read as silence.

    Raises:
        AudioError: if it cannot be opened.
    """

    def __init__(self, content: Any, head: bytes, size: int, name: str, mono: Callable[[Any], Waveform]) -> None:
        self._content, self._head, self._size = content, head, size
        self.name, self._mono = name, mono
        self._tail: tuple[int, Waveform] = (0, NOTHING)
        made = self._open()
        self.promised_samples, self.is_whole = made.promised_samples, made.is_whole
        self.gaps = list(made.gaps)
        self.n_samples = int(self.file.frames)
        self._goes_around = False  # the file has silence in gaps that are known now

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _open(self) -> Opened:
        try:
            made = opened(self._content, self._head, self._size)
        except (sf.LibsndfileError, OSError, RuntimeError) as error:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
        self.file = made.file
        return made

    def _open_anew(self, at: int) -> None:
        """A decoder that met damage does not recover, and one that seeks may meet it."""
        self.file.close()
        self._open()
        if at:
            self.file.seek(at)

    def read(self, start: int, stop: int) -> list[Waveform]:
        """Mono samples [start, stop) in pieces of at most BLOCK_SAMPLES values, to where the recording ends.

        Raises:
            AudioError: if nothing of the recording can be decoded.
        """
        if not self._goes_around:
            try:
                return self._undamaged(start, stop)
            except (sf.LibsndfileError, RuntimeError) as error:
                self._find_gaps(error)
        blocks: list[Waveform] = []
        stop = min(stop, self.n_samples)
        for first, last in [*self.gaps, (self.n_samples, self.n_samples)]:
            if start < min(first, stop):
                blocks += self._beside_gaps(start, min(first, stop))
            start = max(start, min(first, stop))
            if start < min(last, stop):
                blocks.append(np.zeros(min(last, stop) - start, np.float32))
            start = max(start, min(last, stop))
        return blocks

    def _undamaged(self, start: int, stop: int) -> list[Waveform]:
        """As :meth:`read`, of a file in which nothing was found to be damaged."""
        if self.file.format == "MP3":
            blocks = self._in_order(start, stop)
        else:
            self.file.seek(start)
            blocks = self._going_on(start, stop)
        if (length := sum(map(len, blocks))) < stop - start:
            self.n_samples = start + length
        return blocks

    def _going_on(self, start: int, stop: int) -> list[Waveform]:
        """Decode from where the file is, ``start``, to ``stop`` or where it ends."""
        size = max(BLOCK_SAMPLES // self.file.channels, 1)
        blocks: list[Waveform] = []
        while start < stop:
            asked = min(size, stop - start)
            block = self._mono(self.file.read(asked, dtype="float32", always_2d=True))
            blocks.append(block)
            start += len(block)
            if len(block) < asked:
                break
            if len(blocks) * size > MAX_SAMPLES:
                raise too_long(self.name, stop)
        return blocks

    def _in_order(self, start: int, stop: int) -> list[Waveform]:
        """The same by decoding what is before ``start``, since an MP3 frame depends on those before; what was decoded
        last is kept.
        """
        at, tail = self._tail
        kept = tail[len(tail) - (at - start) :] if at - len(tail) <= start < at else NOTHING
        if not len(kept) and start < at:
            self._open_anew(0)
            at = 0
        while at < start:
            passed = len(self.file.read(min(BLOCK_SAMPLES // self.file.channels, start - at), dtype="float32"))
            if not passed:
                break
            at += passed
        blocks = [kept, *self._going_on(at, stop)]
        self._tail = (max(start, at - len(kept)) + sum(map(len, blocks)), np.concatenate(blocks))
        return blocks

    def _beside_gaps(self, start: int, stop: int) -> list[Waveform]:
        """Mono samples between two gaps; a window that cannot be sought is decoded from the gap before it on."""
        since = max((last for _, last in self.gaps if last <= start), default=0)
        for first in dict.fromkeys((start, since)):
            try:
                self._open_anew(first)
                made = np.concatenate([NOTHING, *self._going_on(first, stop)])[start - first :]
            except (sf.LibsndfileError, RuntimeError):
                continue
            if len(made) == stop - start:
                return [made]
        self.gaps = sorted([*self.gaps, (start, stop)])
        return [np.zeros(stop - start, np.float32)]

    def _find_gaps(self, error: Exception) -> None:
        """Decode everything, and note what cannot be; where nothing more follows the recording ends.

        Raises:
            AudioError: if nothing can be decoded.
        """
        at, gaps = 0, []
        self._open_anew(0)
        while at < self.n_samples:
            step = self._first_sound(at)
            if step is None:
                break
            start, n_samples = step
            gaps += [(at, start)] if start > at else []
            at = start + n_samples
        if not at:
            raise AudioError("unreadable recording", where=self.name, found=_reason(error)) from error
        self.gaps, self.n_samples, self._goes_around = gaps, at, True

    def _first_sound(self, at: int) -> tuple[int, int] | None:
        """Where something can be decoded from ``at`` on, and how many samples were; None where nothing can be."""
        step = 0
        while at + step < self.n_samples:
            n_samples = self._decodable(at + step, goes_on=not step)
            if n_samples:
                return at + step, n_samples
            step += STEP_SAMPLES if step < FINE_STEPS * STEP_SAMPLES else step
        return None

    def _decodable(self, at: int, *, goes_on: bool) -> int:
        """Samples of up to a step that can be decoded at ``at``: where the file is, or sought."""
        for anew in (False, True) if goes_on else (True,):
            try:
                if anew:
                    self._open_anew(at)
                return len(self.file.read(min(STEP_SAMPLES, self.n_samples - at), dtype="float32"))
            except (sf.LibsndfileError, RuntimeError):
                pass  # damage, which is what is looked for
        return 0


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
