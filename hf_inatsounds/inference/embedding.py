"""Embeddings: a model's pooled features, tokens or logits of windows, for our checkpoints and any of the Hub's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hf_inatsounds.audio import Waveform
from hf_inatsounds.audio.windows import WindowSpec, check_heard
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.fingerprints import fingerprint, tensors_fingerprint
from hf_inatsounds.frontends import frontend_for
from hf_inatsounds.inference.random_weights import redrawn, reinitialise
from hf_inatsounds.models.checkpoint_reading import read_encoder
from hf_inatsounds.models.classifier import Classifier, load_classifier, pad_batch
from hf_inatsounds.models.hub_checkpoints import checkpoint_folder
from hf_inatsounds.models.input_length import minimum_samples
from hf_inatsounds.models.loading import read_config
from hf_inatsounds.runtime.devices import choose_device, choose_dtype, dtype_name, precision

TOKENS = 16
"""Tokens kept of a window, each the mean of neighbours: enough for an attentive probe, little enough to store."""

HEADS = ("ForAudioClassification", "ForSequenceClassification", "ForImageClassification")

Kind = Literal["pooled", "tokens", "logits"]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Embedder:
    """What turns windows into embeddings.

    Attributes:
        name: of the checkpoint.
        window: how a clip is cut into windows.
        sampling_rate: of the waveforms, in Hz.
        classifier: the classifier behind it; None for a model without a classification head.
        digest: SHA-256 of weights, config, feature extractor and precision.
        parameters: how many weights it has.
        on_gpu: whether it is on one, where windows should share forward passes.
        longest_samples: that the model's input holds; None for any number.
    """

    name: str
    window: WindowSpec
    sampling_rate: int
    classifier: Classifier | None
    digest: str
    parameters: int
    on_gpu: bool
    _forward: Callable[[Sequence[Waveform], Kind], Array]
    longest_samples: int | None = None

    def check_window(self, window: WindowSpec) -> None:
        """Raise InatSoundsError if a window is longer than the model's input."""
        check_heard(window.size_samples(self.sampling_rate), self.longest_samples, self.sampling_rate, name="--window")

    def embed(self, windows: Sequence[Waveform], kind: Kind = "pooled") -> Array:
        """Embeddings of windows; none depends on the others.

        Args:
            windows: (T_i,) float32 each, at ``sampling_rate``, at most as long as the model's input.
            kind: "pooled" for what the classification head sees, "tokens" for the last hidden states, "logits" for the
                head's output.

        Returns:
            (W, D) float32, or (W, TOKENS, D) for "tokens".

        Raises:
            CheckpointError: logits of a model without a head.
            InatSoundsError: a window longer than the model's input.
        """
        longest = max((len(window) for window in windows), default=0)
        check_heard(longest, self.longest_samples, self.sampling_rate, name="a window")
        if kind == "logits" and self.classifier is None:
            raise CheckpointError(
                "no classification head", where=self.name, expected="a classifier; probes need none", found="features"
            )
        return self._forward(windows, kind)


def load_embedder(
    checkpoint: str,
    *,
    revision: str | None = None,
    subfolder: str | None = None,
    random_init: int | None = None,
    device: str | torch.device | None = None,
    dtype: str = "float32",
) -> Embedder:
    """An embedder from a folder or the Hub.

    Args:
        checkpoint: one of ours, or any audio model that transformers' Auto classes read.
        revision: branch, tag or commit of a Hub model; None for its main branch.
        subfolder: where in the folder or repository the checkpoint is.
        random_init: draw all weights anew with this seed, for comparison.
        device: as ``load_classifier`` takes it.
        dtype: as ``load_classifier`` takes it.

    Raises:
        InatSoundsError: if there is no such device or precision.
        CheckpointError: if it is missing or unusable.
    """
    folder = checkpoint_folder(checkpoint, revision=revision, subfolder=subfolder)
    architecture = str((read_config(folder).architectures or [""])[0])
    if architecture.endswith(HEADS):
        try:
            classifier = load_classifier(folder, device=device, dtype=dtype)
        except CheckpointError as error:
            if not str(error).startswith("no frontend"):
                raise
        else:
            if random_init is not None:
                reinitialise(classifier, random_init)
            return embedder_of(classifier, checkpoint)
    return _encoder(checkpoint, folder, random_init, choose_device(device), choose_dtype(dtype))


def embedder_of(classifier: Classifier, name: str) -> Embedder:
    """The embedder of a classifier."""

    def forward(windows: Sequence[Waveform], kind: Kind) -> Array:
        if kind == "tokens":
            return _last_states(classifier, windows)
        return classifier.logits(windows) if kind == "logits" else classifier.features(windows)

    facts = _facts(classifier.model, classifier.feature_extractor, classifier.dtype)
    rate, longest = classifier.sampling_rate, classifier.frontend.longest_samples
    return Embedder(name, classifier.window, rate, classifier, *facts, forward, longest)


@torch.inference_mode()
def _last_states(classifier: Classifier, windows: Sequence[Waveform]) -> Array:
    """(W, TOKENS, D): the last hidden states, one window a pass, since padding would be among the means."""
    out = []
    for window in windows:
        inputs = classifier.inputs(*pad_batch([window], minimum_samples(classifier.model.config)))
        outputs = classifier.forward(**inputs, output_hidden_states=True)
        states = outputs.hidden_states if outputs.get("hidden_states") is not None else outputs.encoder_hidden_states
        out.append(_tokens(_sequence(states[-1])))
    return np.concatenate(out)


def _encoder(
    checkpoint: str, folder: Path, random_init: int | None, device: torch.device, dtype: torch.dtype
) -> Embedder:
    """A model without our kind of head: the mean of its last hidden states, window by window."""
    model, extractor = read_encoder(folder, checkpoint)
    model.to(device).eval()
    if random_init is not None:
        model = redrawn(model, random_init)
    rate = int(extractor.sampling_rate)
    inputs_of = _inputs(extractor, model, rate)

    @torch.inference_mode()
    def one(window: Waveform, kind: Kind) -> Array:
        inputs = {key: value.to(model.device) for key, value in inputs_of(window).items()}
        if kind == "pooled" and hasattr(model, "get_audio_features"):  # CLAP and its like
            with precision(device, dtype):
                found = model.get_audio_features(**inputs)
            return np.asarray(getattr(found, "pooler_output", found).float().cpu().numpy())
        encoder = model.get_encoder() if model.config.is_encoder_decoder else getattr(model, "audio_model", model)
        with precision(device, dtype):
            states = encoder(**inputs).last_hidden_state.float()
        hidden = _heard(_sequence(states), len(window), extractor)
        return hidden.mean(1).float().cpu().numpy() if kind == "pooled" else _tokens(hidden)

    def forward(windows: Sequence[Waveform], kind: Kind) -> Array:
        try:
            return np.concatenate([one(window, kind) for window in windows])
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                "a model that gives no embeddings of audio", where=checkpoint,
                found=f"{type(model).__name__}: {type(error).__name__}: {error}",
            ) from error  # fmt: skip

    longest = _longest_samples(extractor)
    size_s = min(5.0, (longest or math.inf) / rate)
    facts = _facts(model, extractor, dtype)
    return Embedder(checkpoint, WindowSpec(size_s, size_s), rate, None, *facts, forward, longest)


def _inputs(extractor: Any, model: Any, rate: int) -> Callable[[Waveform], Any]:
    """Our frontend where there is one, else the feature extractor itself."""
    shortest = minimum_samples(model.config)
    try:
        frontend = frontend_for(extractor)
    except CheckpointError:

        def extracted(window: Waveform) -> Any:
            padded = np.pad(window, (0, max(shortest - len(window), 0)))
            return extractor(padded, sampling_rate=rate, return_tensors="pt")

        return extracted
    return lambda window: frontend.model_inputs(*pad_batch([window], shortest))


def _longest_samples(extractor: Any) -> int | None:
    """Samples that the model's input holds: our frontend knows, and CLAP's extractor and its like say it themselves."""
    try:
        return frontend_for(extractor).longest_samples
    except CheckpointError:
        longest = getattr(extractor, "nb_max_samples", None) or getattr(extractor, "n_samples", None)
        return None if longest is None else int(longest)


def _sequence(hidden: torch.Tensor) -> torch.Tensor:
    """(1, L, D) of a transformer's states, or of a convolutional map (1, D, H, W)."""
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def _heard(hidden: torch.Tensor, samples: int, extractor: Any) -> torch.Tensor:
    """The states of the window itself where the extractor pads to a fixed length, as Whisper's does to 30 s.

    The mean over all of them would be a mean of silence for the most part.
    """
    whole = getattr(extractor, "n_samples", None)
    if whole is None:
        return hidden
    return hidden[:, : max(math.ceil(hidden.shape[1] * min(samples / whole, 1.0)), 1)]


def _tokens(hidden: torch.Tensor) -> Array:
    """(1, L, D) → (1, TOKENS, D): means of neighbours."""
    pooled = torch.nn.functional.adaptive_avg_pool1d(hidden.float().transpose(1, 2), TOKENS)
    return np.asarray(pooled.transpose(1, 2).cpu().numpy())


def _facts(model: Any, extractor: Any, dtype: torch.dtype) -> tuple[str, int, bool]:
    """Digest, number of weights, whether it is on a GPU."""
    size = sum(weights.numel() for weights in model.parameters())
    return _digest(model, extractor, dtype), size, model.device.type != "cpu"


def _digest(model: Any, extractor: Any, dtype: torch.dtype) -> str:
    """SHA-256 of a model: weights, config, feature extractor, precision."""
    config = {key: value for key, value in model.config.to_dict().items() if not key.startswith(("_", "transformers"))}
    values = extractor.to_dict() if hasattr(extractor, "to_dict") else {"extractor": repr(extractor)}
    settings = [config, {key: value for key, value in values.items() if not key.startswith("_")}]
    return fingerprint({
        "model": type(model).__name__,
        "dtype": dtype_name(dtype),
        "settings": json.dumps(settings, sort_keys=True, default=str),
        "weights": tensors_fingerprint(model.state_dict()),
    })  # fmt: skip
