"""From dataset rows to batches of crops: rows travel encoded, the collator decodes only what is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from hf_inatsounds.audio import Recording, Waveform
from hf_inatsounds.augmentation import WaveformAugmentation
from hf_inatsounds.defects import inspect_recording
from hf_inatsounds.errors import AudioError
from hf_inatsounds.models import pad_batch
from hf_inatsounds.windows import random_crop

NEEDED = ("recording_id", "audio", "label", "file_name")

Row = dict[str, Any]


class RecordingList(Dataset[Row]):
    """Rows of a prepared ``datasets.Dataset``, each told the epoch, on which its crop depends."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows.select_columns(list(NEEDED))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return {**self.rows[index], "epoch": self.epoch}


class RecordingStream(IterableDataset[Row]):
    """Rows of a ``datasets.IterableDataset``, shuffled through a buffer.

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

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader before each epoch."""
        self.epoch = epoch
        self.rows.set_epoch(epoch)

    def __len__(self) -> int:
        return self.n_recordings

    def __iter__(self) -> Iterator[Row]:
        for row in self.rows:
            yield {**row, "epoch": self.epoch}


@dataclass(frozen=True)
class CropCollator:
    """Decodes one random crop of each row and stacks them.

    A crop depends on (seed, epoch, recording) alone: not on the worker, the process or the order. A recording
    that cannot be decoded becomes silence of weight 0, so that batches keep their shape.

    Args:
        size_s: length of a crop, in seconds.
        sampling_rate: of the crops, in Hz.
        augmentation: applied to each.
        minimum_samples: shorter crops are padded with silence to this.
        seed: of the crops.
    """

    size_s: float
    sampling_rate: int
    augmentation: WaveformAugmentation
    minimum_samples: int
    seed: int

    def __call__(self, rows: list[Row]) -> dict[str, Any]:
        """Rows → ``waveforms`` (B, T), ``lengths``, ``labels``, ``weights`` (B,), ``inspections`` (B)."""
        crops = [self._crop(row) for row in rows]
        waveforms, lengths = pad_batch([crop for crop, _ in crops], self.minimum_samples)
        return {
            "waveforms": waveforms,
            "lengths": lengths,
            "labels": torch.tensor([row["label"] for row in rows]),
            "weights": torch.tensor([weight for _, weight in crops]),
            "inspections": [inspect_recording(row["recording_id"], row["file_name"], row["audio"]) for row in rows],
        }

    def _crop(self, row: Row) -> tuple[Waveform, float]:
        generator = np.random.default_rng([self.seed, row["epoch"], row["recording_id"]])
        try:
            with Recording(row["audio"]) as recording:
                rate = recording.info.sampling_rate
                start, stop = random_crop(recording.info.n_samples, round(self.size_s * rate), generator)
                crop = recording.read(start / rate, (stop - start) / rate, self.sampling_rate)
        except AudioError:
            crop = np.zeros(0, np.float32)
        if not len(crop):
            return crop, 0.0
        return self.augmentation(crop, round(self.size_s * self.sampling_rate), self.sampling_rate, generator), 1.0
