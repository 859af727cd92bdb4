"""Classifiers: a native transformers model with the frontend, labels and window that belong to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_inatsounds.audio import Waveform
from hf_inatsounds.audio.windows import WindowSpec, check_heard
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import CheckpointError, RecipeError
from hf_inatsounds.files import write_json
from hf_inatsounds.frontends import Frontend, frontend_for
from hf_inatsounds.models.checkpoint_reading import (
    SETTINGS_FILE,
    Start,
    checkpoint_settings,
    checkpoint_window,
    read_to_tune,
    read_to_use,
    without_head,
)
from hf_inatsounds.models.finetuning import merged
from hf_inatsounds.models.from_preset import PRESETS, from_preset
from hf_inatsounds.models.heads import classification_head, has_projection, save_native, start_head
from hf_inatsounds.models.hub_checkpoints import checkpoint_folder
from hf_inatsounds.models.input_length import minimum_samples
from hf_inatsounds.models.model_input import fitting_frontend
from hf_inatsounds.models.repairs import repair
from hf_inatsounds.objectives import Contrastive, Objective, objective_of
from hf_inatsounds.runtime.devices import choose_device, choose_dtype, frontend_device, precision

MASKED_THROUGHOUT = frozenset({"wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "wav2vec2-bert"})
"""Model types whose logits were seen not to depend on padding that is masked."""


@dataclass
class Classifier:
    """A model and all that makes its scores mean something.

    Attributes:
        model: a native transformers model for audio classification.
        feature_extractor: its own feature extractor.
        frontend: the same, batched, on the model's device, or on the CPU where that has no float64.
        label_space: what its classes are; None for a checkpoint from elsewhere.
        objective: how logits become scores.
        window: how recordings are cut for it.
        folder: where it was loaded from; None for one that was built.
        start: what it has of the checkpoint that it is fine-tuned from; None without one.
        dtype: what forward passes are computed in; the weights stay in float32.
    """

    model: Any
    feature_extractor: Any
    frontend: Frontend
    label_space: LabelSpace | None
    objective: Objective
    window: WindowSpec
    folder: Path | None = None
    start: Start | None = None
    dtype: torch.dtype = torch.float32

    @property
    def sampling_rate(self) -> int:
        """Rate of the waveforms that it takes, in Hz."""
        return self.frontend.sampling_rate

    @property
    def species(self) -> list[str]:
        """Names of its classes in label order."""
        return [self.model.config.id2label[i] for i in range(self.model.config.num_labels)]

    @property
    def _shares_passes(self) -> bool:
        """Whether windows of different lengths may share a forward pass without changing their logits."""
        config, masked = self.model.config, getattr(self.frontend, "return_attention_mask", False)
        if not masked or not self.frontend.pads_safely:
            return self.frontend.pads_safely
        # the mask has to hold in all of the model: in data2vec's stack of position convolutions it does not, nor
        # in a group norm over time
        return config.model_type in MASKED_THROUGHOUT and getattr(config, "feat_extract_norm", "layer") == "layer"

    @torch.inference_mode()
    def logits(self, windows: Sequence[Waveform]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Logits of some windows.

        Windows share a forward pass only where that cannot change their logits: where the frontend pads
        after it has made features, or the model masks the padding.

        Args:
            windows: (T_i,) float32 each, at ``sampling_rate``, at most as long as the model's input.

        Returns:
            (len(windows), C) float32.

        Raises:
            InatSoundsError: if a window is longer than the model's input.
        """
        out = np.empty((len(windows), self.model.config.num_labels), np.float32)
        for members, inputs in self._batches(windows):
            out[members] = self.forward(**inputs).logits.float().cpu().numpy()
        return out

    @torch.inference_mode()
    def features(self, windows: Sequence[Waveform]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Embeddings of some windows: what the last layer of the classification head sees, pooled over time.

        Args:
            windows: as ``logits`` takes them.

        Returns:
            (len(windows), D) float32.

        Raises:
            InatSoundsError: if a window is longer than the model's input.
            CheckpointError: if the model ends in no linear layer over its classes.
        """
        head = classification_head(self.model)
        out = np.empty((len(windows), head.in_features), np.float32)
        seen: list[torch.Tensor] = []
        hook = head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        try:
            for members, inputs in self._batches(windows):
                self.forward(**inputs)
                out[members] = seen.pop().float().cpu().numpy()
        finally:
            hook.remove()
        return out

    def _batches(self, windows: Sequence[Waveform]) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
        """Which windows share a forward pass, and the model's inputs for them."""
        longest = max((len(window) for window in windows), default=0)
        check_heard(longest, self.frontend.longest_samples, self.sampling_rate, name="a window")
        self.model.eval()
        groups: dict[int, list[int]] = {}
        for i, window in enumerate(windows):
            groups.setdefault(0 if self._shares_passes else len(window), []).append(i)
        for members in groups.values():
            yield members, self.inputs(*pad_batch([windows[i] for i in members], minimum_samples(self.model.config)))

    def inputs(self, waveforms: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """The model's inputs, on its device, of waveforms (B, T) and lengths (B,) on any."""
        where = frontend_device(self.model.device)
        made = self.frontend.model_inputs(waveforms.to(where), lengths.to(where))
        return {name: tensor.to(self.model.device) for name, tensor in made.items()}

    def forward(self, **inputs: Any) -> Any:
        """The model's outputs, in the classifier's precision."""
        with precision(self.model.device, self.dtype):
            return self.model(**inputs)

    def save(self, folder: str | Path) -> None:
        """Write a native checkpoint, LoRA merged, with ``label_space.json`` and ``inatsounds.json`` beside it.

        Of a model that is being pre-trained it is the encoder alone, without classes.
        """
        save_native(merged(self.model), folder)
        self.feature_extractor.save_pretrained(folder)
        if self.label_space is not None and not has_projection(self.model):
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


def build_classifier(
    preset: str,
    label_space: LabelSpace,
    objective: Objective,
    *,
    window: WindowSpec,
    config: dict[str, Any] | None = None,
    feature_extractor: dict[str, Any] | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
) -> Classifier:
    """A classifier to fine-tune, with a new head for ``label_space``.

    A checkpoint's head is kept where its classes are those of ``label_space``, by name: ``start`` says what was done.

    Args:
        preset: a name in ``PRESETS``, a checkpoint folder, or a Hub model id.
        label_space: the classes.
        objective: stored as the model's ``problem_type``.
        window: training crops have its size.
        config: values that override the preset's or checkpoint's model config.
        feature_extractor: values that override the feature extractor's.
        revision: branch, tag or commit of a Hub model; None for its main branch.
        subfolder: where in the folder or repository the checkpoint is.

    Raises:
        RecipeError: unknown keys, values that do not fit the checkpoint's weights.
        CheckpointError: a checkpoint that cannot be read, or has no frontend here.
    """
    names, start = label_space.species, None
    config, overrides = config or {}, feature_extractor or {}
    if preset in PRESETS:
        if revision or subfolder:
            raise RecipeError("a preset has none", where="revision, subfolder", found=revision or subfolder)
        shared = {
            **config,
            "id2label": dict(enumerate(names)),
            "label2id": {name: i for i, name in enumerate(names)},
            "problem_type": objective.problem_type,
        }
        model, extractor = from_preset(preset, shared, config, overrides, window)
    else:
        folder = checkpoint_folder(preset, revision=revision, subfolder=subfolder)
        model, extractor, start = read_to_tune(
            folder, preset, label_space, objective.problem_type,
            config=config, feature_extractor=overrides, window=window,
        )  # fmt: skip
    if start is None or start.head == "new":
        start_head(model, objective.initial_logit(len(names)))
    repair(model)
    frontend = fitting_frontend(model, extractor, window, minimum_samples(model.config))
    return Classifier(model, extractor, frontend, label_space, objective, window, start=start)


def load_classifier(
    checkpoint: str | Path,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    device: str | torch.device | None = None,
    dtype: str = "float32",
) -> Classifier:
    """A trained classifier from a folder or the Hub, its weights in float32; nothing in it runs.

    Args:
        checkpoint: a folder that ``train`` or ``save_pretrained`` wrote, or a Hub model id.
        revision: branch, tag or commit of a Hub model; None for its main branch.
        subfolder: where in the folder or repository the checkpoint is.
        device: as :func:`~hf_inatsounds.runtime.devices.choose_device` takes it; None for the best that is here.
        dtype: what forward passes are computed in: "float32", "bfloat16" or "float16".

    Raises:
        InatSoundsError: if there is no such device or precision.
        CheckpointError: if it is missing, incomplete, an encoder without a head, or has no frontend here.
    """
    where, computed = choose_device(device), choose_dtype(dtype)  # before anything is fetched
    folder = checkpoint_folder(checkpoint, revision=revision, subfolder=subfolder)
    if checkpoint_settings(folder).get("objective") == Contrastive.name:
        raise without_head(folder)
    model, extractor = read_to_use(folder)
    model.to(where).eval()
    frontend = frontend_for(extractor).to(frontend_device(where))
    label_space = LabelSpace.load(folder) if (folder / "label_space.json").exists() else None
    if label_space is not None and len(label_space) != model.config.num_labels:
        raise CheckpointError(
            "label space and model differ",
            where=folder,
            found=f"{len(label_space)} and {model.config.num_labels} classes",
        )
    objective = objective_of(model.config.problem_type)
    window = checkpoint_window(folder, extractor)
    return Classifier(model, extractor, frontend, label_space, objective, window, folder=folder, dtype=computed)
