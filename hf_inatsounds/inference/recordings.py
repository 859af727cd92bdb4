"""Prediction and embeddings of recordings as users have them: files, arrays, rows of a dataset, one or many."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from hf_inatsounds.audio.hearing import Hearing
from hf_inatsounds.audio.windows import chosen_window
from hf_inatsounds.errors import ArgumentsError, AudioError
from hf_inatsounds.inference.embedding import Embedder, embedder_of, load_embedder
from hf_inatsounds.inference.embedding_table import SCHEMA, as_table, embed_audio
from hf_inatsounds.inference.given import named_recordings
from hf_inatsounds.inference.predict import detections_table, predict_audio
from hf_inatsounds.models import classifier as models
from hf_inatsounds.progress import track
from hf_inatsounds.runtime.ranges import is_number, whole_number


@dataclass
class Classifier(models.Classifier):
    """A classifier with :meth:`predict` and :meth:`embed`; what :func:`load_classifier` gives.

    Its model, feature extractor, label space and window are attributes: see the base class.
    """

    def predict(self, recordings: Any, **options: Any) -> pa.Table:
        """Species in each window, as :func:`predict` says, which takes the same options."""
        return predict(self, recordings, **options)

    def embed(self, recordings: Any, **options: Any) -> pa.Table:
        """An embedding of each window, as :func:`embed` says, which takes the same options."""
        return embed(self, recordings, **options)


def load_classifier(
    checkpoint: str | Path,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    device: str | torch.device | None = None,
    dtype: str = "float32",
) -> Classifier:
    """A classifier from a run folder, a checkpoint or the Hub.

    Args:
        checkpoint: folder or Hub model id.
        revision: branch, tag or commit of a Hub model; None for its main branch.
        subfolder: where in the folder or repository the checkpoint is.
        device: "auto" or None for the best here, "cpu", "cuda", "cuda:1", "xpu", "mps".
        dtype: "float32", "bfloat16" or "float16": what forward passes are computed in.

    Raises:
        CheckpointError: if it is missing or unusable.
        InatSoundsError: if there is no such device or precision.
    """
    made = models.load_classifier(checkpoint, revision=revision, subfolder=subfolder, device=device, dtype=dtype)
    return Classifier(**vars(made))


def predict(
    model: str | Path | models.Classifier,
    recordings: Any,
    *,
    sampling_rate: int | None = None,
    top: int = 1,
    min_score: float = 0.0,
    window_s: float | None = None,
    stride_s: float | None = None,
    channel: int | None = None,
    batch_size: int = 32,
    heard: dict[str, Hearing] | None = None,
    quiet: bool = True,
    **checkpoint: Any,
) -> pa.Table:
    """Species in each window of recordings of any length.

    Args:
        model: a classifier, or what :func:`load_classifier` takes.
        recordings: a path; a folder, with all recordings below it; an array (T,), (channels, T) or, as soundfile
            gives it, (T, channels), in [-1, 1] or of whole numbers as files have them, with ``sampling_rate``; bytes
            of a file; a row of the dataset or its ``audio`` value; or a list, a dataset or another iterable of those.
        sampling_rate: of arrays, in Hz.
        top: best species per window, at most.
        min_score: weaker ones are left out; in [0, 1].
        window_s: length of windows, in seconds; None for the checkpoint's.
        stride_s: time from one window to the next, in seconds; None for windows side by side.
        channel: which one, from 0; None for the mean of all.
        batch_size: windows per forward pass.
        heard: filled in with what became of each recording, by its name. Without it a recording of which nothing can
            be heard raises AudioError.
        quiet: no progress.
        checkpoint: ``revision``, ``subfolder``, ``device`` and ``dtype`` of a model that is loaded.

    Returns:
        A table of file, start_s, end_s, species, common_name and score, in order of the recordings and of time;
        ``.to_pandas()`` and ``.to_pylist()`` give what their names say.

    Raises:
        ArgumentsError: an array without a rate, or a value out of range.
        AudioError: as above.
        CheckpointError: if the model is missing, unusable, or gives scores that are no numbers.
    """
    whole_number("top", top, 1)
    _in_range("min_score", min_score, is_number(min_score) and 0 <= min_score <= 1, "from 0 to 1")
    whole_number("batch_size", batch_size, 1)
    _known(model, checkpoint)
    classifier = model if isinstance(model, models.Classifier) else load_classifier(model, **checkpoint)
    window = chosen_window(classifier.window.side_by_side(), window_s, stride_s)

    def found() -> Iterator[Any]:
        for name, audio in _shown(recordings, sampling_rate, "predicting", quiet):
            hearing = Hearing()
            yield from predict_audio(
                classifier, audio, name, hearing=hearing, window=window, top=top, min_score=min_score,
                batch_size=batch_size, channel=channel,
            )  # fmt: skip
            _settle(name, hearing, heard)

    return detections_table(found())


def embed(
    model: str | Path | models.Classifier | Embedder,
    recordings: Any,
    *,
    sampling_rate: int | None = None,
    window_s: float | None = None,
    stride_s: float | None = None,
    channel: int | None = None,
    batch_size: int = 32,
    heard: dict[str, Hearing] | None = None,
    quiet: bool = True,
    **checkpoint: Any,
) -> pa.Table:
    """An embedding of each window of recordings of any length: what the classification head sees, pooled over time.

    Args:
        model: a classifier, or a folder or Hub id of any audio model; one without a head gives the mean of its last
            hidden states.
        recordings: as :func:`predict` takes them.
        sampling_rate: of arrays, in Hz.
        window_s: length of windows, in seconds; None for the checkpoint's.
        stride_s: time from one window to the next, in seconds; None for windows side by side.
        channel: which one, from 0; None for the mean of all.
        batch_size: windows held at once.
        heard: as :func:`predict` takes it.
        quiet: no progress.
        checkpoint: ``revision``, ``subfolder``, ``device`` and ``dtype`` of a model that is loaded.

    Returns:
        A table of file, start_s, end_s and embedding, a list of D float32.

    Raises:
        ArgumentsError: an array without a rate, or a value out of range.
        AudioError: a recording of which nothing can be heard, where ``heard`` is not given.
        CheckpointError: if the model is missing, unusable, or gives embeddings that are no numbers.
    """
    whole_number("batch_size", batch_size, 1)
    _known(model, checkpoint)
    if isinstance(model, models.Classifier):
        embedder = embedder_of(model, str(model.folder or "a classifier"))
    else:
        embedder = model if isinstance(model, Embedder) else load_embedder(str(model), **checkpoint)
    window = chosen_window(embedder.window.side_by_side(), window_s, stride_s)
    tables = []
    for name, audio in _shown(recordings, sampling_rate, "embedding", quiet):
        hearing = Hearing()
        for batch in embed_audio(embedder, audio, name, window, hearing, batch_size=batch_size, channel=channel):
            tables.append(as_table(name, *batch))  # noqa: PERF401  # what is heard is settled behind the last
        _settle(name, hearing, heard)
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


_OF_CHECKPOINT = ("revision", "subfolder", "device", "dtype")


def _known(model: Any, checkpoint: Mapping[str, Any]) -> None:
    """Options of a checkpoint are its own, and go with one that is loaded here.

    Raises:
        ArgumentsError: otherwise.
    """
    if unknown := [name for name in checkpoint if name not in _OF_CHECKPOINT]:
        near = difflib.get_close_matches(unknown[0], _OF_CHECKPOINT, 1)
        raise ArgumentsError(
            f"unknown option {unknown[0]}", expected=f"{near[0]}?" if near else ", ".join(_OF_CHECKPOINT)
        )
    if checkpoint and not isinstance(model, (str, os.PathLike)):
        raise ArgumentsError(
            f"{next(iter(checkpoint))} is of a model that is loaded here, and this one is loaded already"
        )


def _in_range(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ArgumentsError(f"{name} must be {expected}, got {value!r}")


def _settle(name: str, hearing: Hearing, heard: dict[str, Hearing] | None) -> None:
    """Tell what became of a recording, or raise it.

    Raises:
        AudioError: if nothing of it was heard and nobody keeps account.
    """
    if heard is not None:
        heard[name] = hearing
    elif hearing.status == "failed":
        raise AudioError(hearing.reason if name in hearing.reason else f"{name}: {hearing.reason}")


def _shown(recordings: Any, sampling_rate: int | None, what: str, quiet: bool) -> Iterable[tuple[str, Any]]:
    named = named_recordings(recordings, sampling_rate)
    return named if quiet else track(named, what, total=getattr(recordings, "__len__", lambda: None)(), quiet=False)
