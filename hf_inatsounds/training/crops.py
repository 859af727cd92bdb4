"""Crops: which recordings, in which order, and how a crop is cut and augmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from hf_inatsounds.audio import Recording, Waveform
from hf_inatsounds.audio.defects import Inspection, content_of, digest_of, kinds_of, with_hearing
from hf_inatsounds.audio.hearing import Hearing, known_of
from hf_inatsounds.audio.windows import random_crop
from hf_inatsounds.augmentation import WaveformAugmentation
from hf_inatsounds.data.rows import NEEDED, Row, Rows
from hf_inatsounds.errors import AudioError, EmptyAudioError
from hf_inatsounds.models.classifier import pad_batch
from hf_inatsounds.objectives import sampling_weights

CropChoice = Literal["uniform", "energy"]

CANDIDATES = 3
"""Crops among which the choice by energy is made."""

NOTHING = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Crop:
    """One training crop.

    Attributes:
        waveform: (T,) float32; empty where nothing could be decoded.
        key: a number that is this crop's alone, for what is drawn on the device.
    """

    waveform: Waveform
    key: int


@dataclass(frozen=True)
class CropCollator:
    """Decodes random crops of each row and stacks them.

    A crop depends on (seed, epoch, recording, number of the crop) alone: not on the worker, the process or the order.
    A recording that cannot be decoded becomes silence of weight 0, so that batches keep their shape.

    A worker's memory is that of its libraries, two row groups, a batch and the recording being decoded: with crops of
    3 s in batches of 15 from a mirror it peaked at 748 MB, 609 of them there before it began, and grew by 2 MB from the
    1,000th to the 10,000th example (``benchmarks.worker_memory``).

    Args:
        size_s: length of a crop, in seconds.
        sampling_rate: of the crops, in Hz.
        augmentation: applied to each.
        minimum_samples: shorter crops are padded with silence to this.
        seed: of the crops.
        crops_per_recording: crops of each row, next to each other in the batch: reading is paid once for them.
        crop_choice: "uniform" over all full crops, or "energy": of three such crops the one that is loudest above the
            rumble. It decodes three crops for one.
    """

    size_s: float
    sampling_rate: int
    augmentation: WaveformAugmentation
    minimum_samples: int
    seed: int
    crops_per_recording: int = 1
    crop_choice: CropChoice = "uniform"

    def __post_init__(self) -> None:
        if self.crops_per_recording < 1:
            raise ValueError(f"crops_per_recording must be at least 1; got {self.crops_per_recording}")
        if self.crop_choice not in get_args(CropChoice):
            raise ValueError(f"crop_choice must be one of {get_args(CropChoice)}; got {self.crop_choice!r}")

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        """A batch of B = rows · ``crops_per_recording`` examples.

        Args:
            rows: with ``recording_id``, ``file_name``, ``label``, ``audio`` and ``epoch``; ``digest`` says whether the
                recording's bytes are to be digested, for telling duplicates, and ``repetition`` how often the epoch
                had it before.

        Returns:
            ``waveforms`` (B, T) float32, ``lengths``, ``labels``, ``weights`` (B,), ``keys`` (B,) int64, an array, and
            ``inspections``, one per row.
        """
        made = [self._crops(row) for row in rows]
        crops = [crop for several, _ in made for crop in several]
        waveforms, lengths = pad_batch([crop.waveform for crop in crops], self.minimum_samples)
        return {
            "waveforms": waveforms,
            "lengths": lengths,
            "labels": torch.tensor([row["label"] for row in rows]).repeat_interleave(self.crops_per_recording),
            "weights": torch.tensor([float(len(crop.waveform) > 0) for crop in crops]),
            "keys": np.array([crop.key for crop in crops], np.int64),
            "inspections": [inspection for _, inspection in made],
        }

    def _crops(self, row: Row) -> tuple[list[Crop], Inspection]:
        """Crops of one row, and what was found of it on the way."""
        origin = [self.seed, row["epoch"], row["recording_id"]]
        first = row.get("repetition", 0) * self.crops_per_recording
        generators = [np.random.default_rng([*origin, first + i]) for i in range(self.crops_per_recording)]
        keys = [int(generator.integers(1 << 62)) for generator in generators]
        nothing = [NOTHING] * len(keys)
        audio, digest = row["audio"], None
        try:
            if row.get("digest", True):
                content = content_of(audio)
                audio, digest = {"bytes": content, "path": audio.get("path")}, digest_of(content)
            with Recording(audio) as recording:
                found = self._read(recording, generators)
        except AudioError as error:
            kind = "empty" if isinstance(error, EmptyAudioError) else "unreadable"
            found = _Found(nothing, (kind,), None, Hearing("failed", str(error)))
        crops = [Crop(waveform, key) for waveform, key in zip(found.waveforms, keys, strict=True)]
        seen = Inspection(row["recording_id"], row["file_name"], digest, found.kinds, found.duration_s)
        return crops, with_hearing(seen, found.hearing)

    def _read(self, recording: Recording, generators: list[np.random.Generator]) -> _Found:
        """The crops of an open recording.

        Raises:
            AudioError: if nothing of it can be decoded.
        """
        made = [self._crop(recording, generator) for generator in generators]
        hearing = known_of(recording, windows=len(made), silent_windows=sum(is_silent for _, is_silent in made))
        info = recording.info
        return _Found([waveform for waveform, _ in made], tuple(kinds_of(info)), info.duration_s, hearing)

    def _crop(self, recording: Recording, generator: np.random.Generator) -> tuple[Waveform, bool]:
        """A crop, empty where nothing is heard, and whether it is digital silence."""
        n_samples = recording.info.n_samples
        size = max(round(self.size_s * recording.info.sampling_rate), 1)
        size_out = max(round(self.size_s * self.sampling_rate), 1)
        start, stop = random_crop(n_samples, size, generator)
        if self.crop_choice == "energy" and n_samples > size:
            others = [random_crop(n_samples, size, generator) for _ in range(CANDIDATES - 1)]
            start, stop = loudest(recording, [(start, stop), *others])
        crop, is_silent = recording.read_marked(start, stop, self.sampling_rate)
        if not (len(crop) and recording.heard(start, stop)):
            start, stop = recording.first_heard(size)
            crop, is_silent = recording.read_marked(start, stop, self.sampling_rate)
        if not (len(crop) and recording.heard(start, stop)):
            return NOTHING, False
        return self.augmentation(crop[:size_out], size_out, self.sampling_rate, generator), is_silent


@dataclass(frozen=True)
class _Found:
    """What reading one recording gave."""

    waveforms: list[Waveform]
    kinds: tuple[str, ...]
    duration_s: float | None
    hearing: Hearing


def loudest(recording: Recording, spans: list[tuple[int, int]]) -> tuple[int, int]:
    """The span whose first difference has the most energy: wind and handling noise are low, most calls are not.

    Args:
        recording: open.
        spans: beginnings and ends in samples, each decoded, one at a time.
    """
    energies = [float(np.square(np.diff(recording.read_samples(*span))).sum(dtype=np.float64)) for span in spans]
    return spans[int(np.argmax(energies))]


__all__ = ["CropCollator", "RecordingList", "RecordingStream"]


class RecordingList(Dataset[Row]):
    """Rows by number, each told the epoch, on which its crops depend.

    Any order of them can be read, so that who makes the order, the sampler in the main process, decides alone on what
    is in a batch: workers read and decode what they are told, and their number changes nothing. Number i + k N is the
    k-th repetition of recording i in an epoch, whose crops are others.

    Args:
        rows: what is trained on.
        sampling: how classes are drawn, one of ``SAMPLINGS``; "natural" takes each recording once per epoch.
        beta: of "class-balanced".
    """

    def __init__(self, rows: Rows, *, sampling: str = "natural", beta: float = 0.999) -> None:
        self.rows = rows
        self._weights = None if sampling == "natural" else sampling_weights(self.rows.labels(), sampling, beta=beta)
        self.epoch = 0
        # shared by all workers, also those of later epochs: each recording's bytes are digested once per run
        self._digested: torch.Tensor = torch.zeros(len(self.rows), dtype=torch.bool)
        self._digested.share_memory_()  # type: ignore[no-untyped-call]  # torch has not typed it

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, by accelerate's data loader or a sampler."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Row:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Row]:
        """What torch's loader asks for with a whole batch of numbers: one read where a source can."""
        repetitions = [int(number) // len(self) for number in numbers]
        numbers = [int(number) % len(self) for number in numbers]
        digested = self._digested[numbers].tolist()
        self._digested[numbers] = True
        return [
            {**row, "epoch": self.epoch, "repetition": repetition, "digest": not done}
            for row, repetition, done in zip(self.rows.take(numbers), repetitions, digested, strict=True)
        ]

    def begin(self, numbers: Sequence[int]) -> None:
        """Begin to read what :meth:`__getitems__` will be asked for next."""
        self.rows.begin([int(number) % len(self) for number in numbers])

    def order(self, seed: int, epoch: int, step_items: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Numbers in the order of a seed and an epoch: all, in one in which the source reads well, or N draws.

        Args:
            seed: decides on it.
            epoch: too.
            step_items: rows of an optimiser step, of all processes together.
        """
        generator = np.random.default_rng([seed, epoch])
        if self._weights is None:
            return self.rows.order(generator, step_items)
        return told_apart(generator.choice(len(self), len(self), p=self._weights / self._weights.sum()), len(self))


def told_apart(draws: np.ndarray[Any, np.dtype[np.int64]], n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Draws of numbers below ``n``, ``n`` added to each for each time that it was drawn before.

    >>> told_apart(np.array([2, 0, 2, 2]), 3).tolist()
    [2, 0, 5, 8]
    """
    order = np.argsort(draws, kind="stable")
    drawn = draws[order]
    repetitions = np.empty_like(draws)
    repetitions[order] = np.arange(len(draws)) - np.searchsorted(drawn, drawn)
    return draws + n * repetitions


class RecordingStream(IterableDataset[Row]):
    """Rows of a ``datasets.IterableDataset``, mixed by it: by index without a buffer, otherwise through one.

    Its order depends on who iterates: workers of a ``DataLoader`` divide its shards among them. Batches that do not
    depend on the number of workers need it to be iterated in one place, and the rows, still encoded, to be handed to
    the workers from there.

    Args:
        rows: the stream.
        n_recordings: how many it has, as the annotations say.
        shuffle_buffer: recordings in the buffer.
        seed: of the order.
    """

    def __init__(self, rows: Any, n_recordings: int, *, shuffle_buffer: int, seed: int) -> None:
        self.rows = rows.select_columns(list(NEEDED)).shuffle(seed=seed, buffer_size=shuffle_buffer)
        self.n_recordings = n_recordings
        self.epoch = 0
        self._digested: set[int] = set()

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, by accelerate's data loader or a sampler."""
        self.epoch = epoch
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return self.n_recordings

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            number = row["recording_id"]
            yield {**row, "epoch": self.epoch, "digest": number not in self._digested}
            self._digested.add(number)
