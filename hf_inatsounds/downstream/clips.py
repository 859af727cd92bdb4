"""What every suite is made of: clips with labels, folds, and the checks that no adapter may forget."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from hf_inatsounds.audio import Recording, Waveform, probe
from hf_inatsounds.downstream.policies import Policy
from hf_inatsounds.errors import AudioError, SuiteError
from hf_inatsounds.fingerprints import file_digest, file_stamp

TOLERANCE_S = 0.1
"""How far an annotation may reach past the recording's end: tables are rounded, and codecs pad."""

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class ParquetCell:
    """A recording inside a Parquet file's ``audio`` column.

    Attributes:
        path: the file.
        row_group: its row group.
        row: row within that.
    """

    path: str
    row_group: int
    row: int

    def content(self) -> bytes:
        """The encoded recording."""
        value = _audio_column(self.path, self.row_group, file_stamp(self.path))[self.row]["bytes"]
        if value is None:
            raise SuiteError(
                "no recording in this row", where=f"{self.path}, row group {self.row_group}, row {self.row}"
            )
        return bytes(value)

    def __str__(self) -> str:
        return f"{self.path}, row group {self.row_group}, row {self.row}"


AudioReference = str | ParquetCell


@dataclass(frozen=True)
class Clip:
    """A stretch of a recording with its labels.

    Attributes:
        audio: the recording.
        start_s: beginning, in seconds ≥ 0.
        end_s: end, in seconds, within the recording.
        labels: classes that are heard, ascending; empty for a clip without a call.
        part: which part of the task it belongs to ("1" … "5", "train", "test").
        recording: what it was cut from: clips that share it are not independent.
    """

    audio: AudioReference
    start_s: float
    end_s: float
    labels: tuple[int, ...]
    part: str
    recording: str

    def open(self) -> Recording:
        """The recording, opened."""
        return open_recording(self.audio)

    def waveform(self, recording: Recording, sampling_rate: int) -> Waveform:
        """(T,) samples of the clip out of its open recording.

        Raises:
            AudioError: if nothing of it can be heard, since a silence that is not there would be scored.
        """
        waveform = recording.read(self.start_s, self.end_s - self.start_s, sampling_rate)
        rate = recording.info.sampling_rate
        if not len(waveform) or not recording.heard(round(self.start_s * rate), round(self.end_s * rate)):
            raise AudioError(
                "nothing of a clip can be heard", where=self.audio, found=f"{self.start_s:g} to {self.end_s:g} s",
                expected=f"at most {recording.info.duration_s:g} s, undamaged",
            )  # fmt: skip
        return waveform


@dataclass(frozen=True)
class Fold:
    """What is trained on and what is tested on, as names of parts.

    Attributes:
        name: of the fold.
        train: parts to train on.
        test: parts to test on.
        validation: parts to choose hyperparameters on; empty: some recordings of ``train`` are held out.
    """

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        both = set(self.test) & {*self.train, *self.validation}
        if both:
            raise SuiteError("overlapping folds", where=f"fold {self.name}", found=f"{min(both)!r} in both")


@dataclass(frozen=True)
class Task:
    """One dataset of a suite.

    Attributes:
        name: of the dataset.
        classes: names in label order.
        clips: all clips.
        folds: how they are split.
        policy: what is measured, and how.
        names: what the class names are: "scientific", "ebird", or "own".
        disjoint: what no fold may have on both sides: a "recording", or only the same "clip" where the benchmark
            itself splits recordings.
        notes: what a reader of the numbers has to know.
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    folds: tuple[Fold, ...]
    policy: Policy
    names: Literal["scientific", "ebird", "own"] = "own"
    disjoint: Literal["recording", "clip"] = "recording"
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if len(set(self.classes)) != len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise SuiteError("a class comes twice", where=self.name, found=repr(twice))
        parts = {clip.part for clip in self.clips}
        for fold in self.folds:
            for side in (fold.train, fold.test):
                missing = [part for part in side if part not in parts]
                if missing:
                    raise SuiteError(
                        "a part without clips", where=f"{self.name}, fold {fold.name}", found=repr(missing[0])
                    )
        for clip in self.clips:
            if any(not 0 <= label < len(self.classes) for label in clip.labels):
                raise SuiteError("unknown class", where=f"{self.name}, {clip.audio}", found=clip.labels)
            if not 0 <= clip.start_s < clip.end_s:
                raise SuiteError(
                    "an empty clip", where=f"{self.name}, {clip.audio}", found=f"{clip.start_s} … {clip.end_s} s"
                )
            if not self.policy.multilabel and len(clip.labels) != 1:
                raise SuiteError(
                    "not one label", where=f"{self.name}, {clip.audio}", found=f"{len(clip.labels)}", expected="one"
                )
        self._check_disjoint()

    def indices(self, parts: tuple[str, ...]) -> Array:
        """Clips of some parts, ascending."""
        return np.array([i for i, clip in enumerate(self.clips) if clip.part in parts], np.int64)

    def targets(self, indices: Array) -> Array:
        """(N, C) bool: which classes are heard."""
        made = np.zeros((len(indices), len(self.classes)), np.bool_)
        for row, i in enumerate(indices):
            made[row, list(self.clips[i].labels)] = True
        return made

    def recordings(self, indices: Array) -> Array:
        """(N,) int64: clips with the same number come from the same recording."""
        number: dict[str, int] = {}
        return np.array([number.setdefault(self.clips[i].recording, len(number)) for i in indices], np.int64)

    def _check_disjoint(self) -> None:
        seen: dict[Any, str] = {}
        parts_of: dict[Any, set[str]] = {}
        for clip in self.clips:
            key = clip.recording if self.disjoint == "recording" else (clip.audio, clip.start_s, clip.end_s)
            parts_of.setdefault(key, set()).add(clip.part)
            seen[key] = str(clip.audio)
        for fold in self.folds:
            for key, parts in parts_of.items():
                if len(parts) > 1 and parts & set(fold.test) and parts & {*fold.train, *fold.validation}:
                    raise SuiteError(
                        "overlapping folds",
                        where=f"{self.name}, fold {fold.name}",
                        found=f"{seen[key]} on both sides ({', '.join(sorted(parts))})",
                        expected=f"every {self.disjoint} on one",
                    )


@dataclass(frozen=True)
class Suite:
    """A benchmark of one or more datasets.

    Attributes:
        name: of the suite.
        tasks: its datasets that were found.
        mean_over: names of the tasks whose mean is the suite's number; empty for none.
        left_out: datasets and recordings that could not be used → why.
        heard: what became of recordings of a folder that are not plainly whole, JSON-ready.
    """

    name: str
    tasks: tuple[Task, ...]
    mean_over: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    heard: Sequence[dict[str, Any]] = ()


def open_recording(audio: AudioReference) -> Recording:
    """Open a recording by its reference."""
    if isinstance(audio, ParquetCell):
        return Recording({"bytes": audio.content(), "path": str(audio)})
    return Recording(audio)


def duration_s(audio: AudioReference) -> float:
    """Readable seconds of a recording, by its header.

    Raises:
        AudioError: if it is empty or no readable recording.
    """
    if isinstance(audio, ParquetCell):
        return probe({"bytes": audio.content(), "path": str(audio)}).duration_s
    return _file_duration_s(audio, file_stamp(audio))


def checked_end_s(end_s: float, audio: AudioReference, *, where: str) -> float:
    """``end_s``, cut at the recording's end where it is just past it.

    Raises:
        SuiteError: if it is further past.
    """
    length_s = duration_s(audio)
    if end_s > length_s + TOLERANCE_S:
        raise SuiteError(
            "annotation past the recording's end", where=where, found=f"{end_s:g} s", expected=f"at most {length_s:g} s"
        )
    return min(end_s, length_s)


def inside(folder: Path, name: str, *, where: str) -> Path:
    """``folder / name``, which an annotation file may not lead out of.

    Raises:
        SuiteError: if it does, or the file is missing.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    # by the name alone: a link in the folder is its owner's choice
    if parts.is_absolute() or ".." in parts.parts or "\0" in name or Path(name).is_absolute():
        raise SuiteError("a path out of the suite's folder", where=where, found=repr(name))
    path = folder / name
    if not path.is_file():
        raise SuiteError("missing recording", where=where, found=f"no file {path}")
    return path


def content_digest(audio: AudioReference) -> str:
    """SHA-256 of the encoded recording."""
    if isinstance(audio, ParquetCell):
        return hashlib.sha256(audio.content()).hexdigest()
    return _file_digest(audio, file_stamp(audio))


@functools.lru_cache(maxsize=4096)
def _file_duration_s(path: str, stamp: tuple[int, int]) -> float:
    return probe(path).duration_s


@functools.lru_cache(maxsize=4096)
def _file_digest(path: str, stamp: tuple[int, int]) -> str:
    return file_digest(Path(path))


@functools.lru_cache(maxsize=2)
def _audio_column(path: str, row_group: int, stamp: tuple[int, int]) -> Any:
    """One row group's recordings; two are kept, since clips are read in the file's order."""
    return pq.ParquetFile(path).read_row_group(row_group, columns=["audio"])["audio"].to_pylist()
