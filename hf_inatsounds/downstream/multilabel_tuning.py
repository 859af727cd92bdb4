"""Fine-tuning on clips of any number of labels, none included: a source of ``train`` has one label per recording.

Random crops, binary cross-entropy, AdamW, warm-up and cosine, in :func:`descend`. Of a recipe it takes the keys in
``KEYS``; it augments nothing.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import get_cosine_schedule_with_warmup

from hf_inatsounds.audio import Waveform
from hf_inatsounds.audio.windows import random_crop
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.downstream.clips import Clip, Task
from hf_inatsounds.downstream.descent import descend
from hf_inatsounds.models.classifier import Classifier, build_classifier, pad_batch
from hf_inatsounds.models.input_length import minimum_samples
from hf_inatsounds.objectives import Multilabel
from hf_inatsounds.progress import Bar
from hf_inatsounds.runtime.devices import choose_device, frontend_device
from hf_inatsounds.schema import RANKS
from hf_inatsounds.training.recipe import Recipe

Array = np.ndarray[Any, np.dtype[Any]]

KEYS = (
    "model", "config", "feature_extractor", "window_s", "stride_s", "num_train_epochs", "per_device_train_batch_size",
    "learning_rate", "warmup_steps", "weight_decay", "max_grad_norm", "device", "seed",
)  # fmt: skip
"""Keys of a recipe that count here."""


def tune_multilabel(task: Task, rows: Array, recipe: Recipe, *, quiet: bool) -> tuple[Classifier, dict[str, Any]]:
    """Train all weights on some clips.

    ``loss = Σ_c BCE(z_c, t_c)``, mean over the batch.

    Args:
        task: the task.
        rows: (N,) clips to train on.
        recipe: of which ``KEYS`` count.
        quiet: no progress.

    Returns:
        The classifier of the task's classes, and what is worth telling of the training.

    Raises:
        AudioError: a recording that cannot be read.
        CheckpointError: a model that is missing or has no frontend.
    """
    began = time.monotonic()
    classifier = _classifier(task, recipe)
    model, run = classifier.model, recipe.training
    size = run.per_device_train_batch_size
    batches = -(-len(rows) // size)
    steps = math.ceil(batches * run.num_train_epochs)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.learning_rate, weight_decay=run.weight_decay)
    schedule = get_cosine_schedule_with_warmup(optimizer, run.warmup_of(steps), steps)

    def loss(step: int) -> torch.Tensor:
        epoch, batch = divmod(step, batches)
        order = np.random.default_rng([run.seed, epoch]).permutation(rows)
        return _loss(classifier, task, order[batch * size : (batch + 1) * size], [run.seed, epoch])

    bar = Bar(f"{task.name}: training", quiet=quiet)
    bar.start(steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        descend(
            model, map(loss, range(steps)), optimizer, schedule, max_grad_norm=run.max_grad_norm,
            told=lambda step, loss: bar.update(step, f"loss {loss.item():.3f}"),
        )  # fmt: skip
    bar.close()
    about = {"epochs": run.num_train_epochs, "steps": steps, "seconds": round(time.monotonic() - began, 1)}
    return classifier, {**about, "augmentation": None, "recipe_keys": list(KEYS)}


def _classifier(task: Task, recipe: Recipe) -> Classifier:
    none = ("none",) * (len(RANKS) - 1)
    space = LabelSpace(tuple(Taxon(name, "", "class", (*none, name), True) for name in task.classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)  # the new head's weights
        classifier = build_classifier(
            recipe.model.model, space, Multilabel(), window=recipe.window,
            config=recipe.model.config, feature_extractor=recipe.model.feature_extractor,
        )  # fmt: skip
    device = choose_device(recipe.model.device)
    classifier.model.to(device)
    classifier.frontend.to(frontend_device(device))
    return classifier


def _loss(classifier: Classifier, task: Task, rows: Array, seed: list[int]) -> torch.Tensor:
    crops = [crop(task.clips[i], classifier, np.random.default_rng([*seed, int(i)])) for i in rows]
    waveforms, lengths = pad_batch(crops, minimum_samples(classifier.model.config))
    logits = classifier.model(**classifier.inputs(waveforms, lengths)).logits
    targets = torch.from_numpy(task.targets(rows)).float().to(logits.device)
    return functional.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").sum(-1).mean()


def crop(clip: Clip, classifier: Classifier, generator: np.random.Generator) -> Waveform:
    """A random window of a clip, the whole of a shorter one; only that is decoded, unless nothing of it was heard.

    Raises:
        AudioError: if nothing of the clip can be heard.
    """
    with clip.open() as recording:
        rate = recording.info.sampling_rate
        length, size = round((clip.end_s - clip.start_s) * rate), classifier.window.size_samples(rate)
        start, stop = (round(clip.start_s * rate) + place for place in random_crop(length, size, generator))
        waveform = recording.read_samples(start, min(stop, recording.info.n_samples), classifier.sampling_rate)
        if len(waveform) and recording.heard(start, stop):
            return waveform
        whole, whole_rate = clip.waveform(recording, classifier.sampling_rate), classifier.sampling_rate
        sounds = int(np.flatnonzero(whole)[0]) if whole.any() else 0  # a gap is silent
        return whole[sounds : sounds + classifier.window.size_samples(whole_rate)]
