"""Classifiers: a native transformers model with the frontend, labels and window that belong to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ASTFeatureExtractor, AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from hf_inatsounds.audio import Waveform
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.files import write_json
from hf_inatsounds.frontends import Frontend, frontend_for
from hf_inatsounds.frontends.ast import FRAME_SAMPLES, HOP_SAMPLES
from hf_inatsounds.labels import LabelSpace
from hf_inatsounds.objectives import Objective, objective_of
from hf_inatsounds.presets import PRESETS, from_preset
from hf_inatsounds.windows import WindowSpec

SETTINGS_FILE = "inatsounds.json"
_FILES = ["*.json", "*.safetensors"]  # what is fetched of a Hub checkpoint: nothing that is unpickled


@dataclass
class Classifier:
    """A model and all that makes its scores mean something.

    Attributes:
        model: a native transformers model for audio classification.
        feature_extractor: its own feature extractor.
        frontend: the same, batched, on the model's device.
        label_space: what its classes are; None for a checkpoint from elsewhere.
        objective: how logits become scores.
        window: how recordings are cut for it.
    """

    model: Any
    feature_extractor: Any
    frontend: Frontend
    label_space: LabelSpace | None
    objective: Objective
    window: WindowSpec

    @property
    def sampling_rate(self) -> int:
        """Rate of the waveforms that it takes, in Hz."""
        return self.frontend.sampling_rate

    @property
    def species(self) -> list[str]:
        """Names of its classes in label order."""
        return [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    @torch.inference_mode()
    def logits(self, windows: Sequence[Waveform]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Logits of some windows.

        Windows share a forward pass only where that cannot change their logits: where the frontend pads
        after it has made features, or the model masks the padding.

        Args:
            windows: (T_i,) float32 each, at ``sampling_rate``, at most a window long.

        Returns:
            (len(windows), C) float32.
        """
        self.model.eval()
        groups: dict[int, list[int]] = {}
        for i, window in enumerate(windows):
            groups.setdefault(0 if self.frontend.pads_safely else len(window), []).append(i)
        out = np.empty((len(windows), self.model.config.num_labels), np.float32)
        for members in groups.values():
            waveforms, lengths = pad_batch([windows[i] for i in members], minimum_samples(self.model.config))
            device = self.model.device
            inputs = self.frontend.model_inputs(waveforms.to(device), lengths.to(device))
            out[members] = self.model(**inputs).logits.float().cpu().numpy()
        return out

    def save(self, folder: str | Path) -> None:
        """Write a native checkpoint, with ``label_space.json`` and ``inatsounds.json`` beside it."""
        self.model.save_pretrained(folder)
        self.feature_extractor.save_pretrained(folder)
        if self.label_space is not None:
            self.label_space.save(folder)
        settings = {"window_s": self.window.size_s, "stride_s": self.window.stride_s, "objective": self.objective.name}
        write_json(Path(folder) / SETTINGS_FILE, settings)


def pad_batch(waveforms: Sequence[Waveform], minimum: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack waveforms, zero-padded on the right.

    Args:
        waveforms: (T_i,) float32 each.
        minimum: shorter ones count as this long, their padding as silence: below it a model gives nothing.

    Returns:
        Waveforms (B, max T) float32 and lengths (B,) int64.

    >>> pad_batch([np.ones(2, np.float32), np.ones(1, np.float32)])[1]
    tensor([2, 1])
    """
    lengths = torch.tensor([max(len(waveform), minimum) for waveform in waveforms])
    batch = torch.zeros(len(waveforms), int(lengths.max()) if len(waveforms) else minimum)
    for row, waveform in zip(batch, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return batch, lengths


def minimum_samples(config: Any) -> int:
    """Samples below which a model has no output frame: the receptive field of its convolutions, or 1."""
    field = 1
    kernels, strides = getattr(config, "conv_kernel", None), getattr(config, "conv_stride", None)
    if kernels and strides:
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            field = (field - 1) * stride + kernel
    return field


def build_classifier(
    preset: str,
    label_space: LabelSpace,
    objective: Objective,
    *,
    window: WindowSpec,
    config: dict[str, Any] | None = None,
    feature_extractor: dict[str, Any] | None = None,
) -> Classifier:
    """A classifier to fine-tune, with a new head for ``label_space``.

    Args:
        preset: a name in ``PRESETS``, a checkpoint folder, or a Hub model id.
        label_space: the classes.
        objective: stored as the model's ``problem_type``.
        window: training crops have its size.
        config: values that override the preset's or checkpoint's model config.
        feature_extractor: values that override the feature extractor's.

    Raises:
        RecipeError: unknown config key.
        CheckpointError: a checkpoint that cannot be read, or has no frontend here.
    """
    names = label_space.species
    shared = {
        **(config or {}),
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": objective.problem_type,
    }
    overrides = feature_extractor or {}
    if preset in PRESETS:
        model, extractor = from_preset(preset, shared, config or {}, overrides, window)
    else:
        model, extractor = _from_checkpoint(preset, shared, overrides)
    return Classifier(model, extractor, frontend_for(extractor), label_space, objective, window)


def load_classifier(checkpoint: str | Path, *, device: str | torch.device | None = None) -> Classifier:
    """A trained classifier from a folder or the Hub; nothing in it is unpickled.

    Args:
        checkpoint: a folder that ``train`` or ``save_pretrained`` wrote, or a Hub model id.
        device: where to; None for a GPU where there is one.

    Raises:
        CheckpointError: if it is missing, incomplete or has no frontend here.
    """
    folder = checkpoint_folder(checkpoint)
    model, extractor = _from_checkpoint(str(folder), {}, {})
    model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
    frontend = frontend_for(extractor).to(model.device)
    label_space = LabelSpace.load(folder) if (folder / "label_space.json").exists() else None
    if label_space is not None and len(label_space) != model.config.num_labels:
        raise CheckpointError(
            "label space and model differ",
            where=folder,
            found=f"{len(label_space)} and {model.config.num_labels} classes",
        )
    objective = objective_of(model.config.problem_type)
    return Classifier(model, extractor, frontend, label_space, objective, _window(folder, extractor))


def checkpoint_folder(checkpoint: str | Path) -> Path:
    """The folder of a checkpoint, fetched from the Hub if need be (JSON and safetensors only)."""
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").exists():
            raise CheckpointError("not a checkpoint", where=folder, found="no config.json", expected="what train wrote")
        return folder
    if str(checkpoint).count("/") != 1 or str(checkpoint).startswith((".", "/", "~")):
        raise CheckpointError("no such checkpoint", where=checkpoint, expected="a folder, or a Hub id (owner/name)")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(checkpoint), allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            "no such folder, and not to be had from the Hub", where=checkpoint, found=error
        ) from error


def _from_checkpoint(checkpoint: str, shared: dict[str, Any], overrides: dict[str, Any]) -> tuple[Any, Any]:
    folder = checkpoint_folder(checkpoint)
    try:
        config = AutoConfig.from_pretrained(folder, **shared)
        extractor = AutoFeatureExtractor.from_pretrained(folder, **overrides)
        model = AutoModelForAudioClassification.from_pretrained(
            folder, config=config, use_safetensors=True, ignore_mismatched_sizes=bool(shared)
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError("unusable checkpoint", where=checkpoint, found=error) from error
    return model, extractor


def _window(folder: Path, extractor: Any) -> WindowSpec:
    """The window that a checkpoint was trained on; for one from elsewhere what its extractor holds, or 3 s."""
    path = folder / SETTINGS_FILE
    if path.exists():
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
            return WindowSpec(float(settings["window_s"]), float(settings["stride_s"]))
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "malformed settings", where=path, found=error, expected="window_s, stride_s"
            ) from error
    frames = getattr(extractor, "max_length", None)
    if isinstance(extractor, ASTFeatureExtractor) and frames:
        size_s = ((frames - 1) * HOP_SAMPLES + FRAME_SAMPLES) / extractor.sampling_rate
        return WindowSpec(size_s, size_s / 2)
    return WindowSpec(3.0, 1.5)
