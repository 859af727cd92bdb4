"""The keys of a recipe by what they are about: what ``train --help`` shows."""

from __future__ import annotations

import inspect
import re

from hf_inatsounds.training.arguments import Recipe

GROUPS = {
    "The model": ("model", "revision", "subfolder", "config", "feature_extractor"),
    "The objective": (
        "objective", "loss", "focal_gamma", "asymmetry", "negative_weight", "label_smoothing", "logit_adjustment",
        "hierarchy", "temperature", "projection_size",
    ),
    "What learns": ("freeze", "layer_decay", "lora_rank"),
    "The data": (
        "source", "index", "name", "train_split", "validation_split", "sampling", "sampling_beta", "streaming",
        "shuffle_buffer", "window_s", "stride_s", "max_unusable_share",
    ),
    "The steps": ("epochs", "max_steps", "batch_size", "gradient_accumulation_steps", "seed"),
    "The optimiser": (
        "optimizer", "momentum", "learning_rate", "scheduler", "lr_scheduler_kwargs", "warmup_share",
        "warmup_start_share", "min_learning_rate_share", "weight_decay", "max_grad_norm", "ema_decay",
    ),
    "Augmentation": (
        "gain_db", "noise", "pitch", "shorten", "waveform_augmentation", "crops_per_recording", "crop_choice",
        "frequency_masks", "frequency_mask_bins", "time_masks", "time_mask_frames", "mixup", "mixup_alpha",
        "mixup_level", "mixup_targets",
    ),
    "Validation, checkpoints, logs": (
        "validation", "validation_recordings", "evaluate_every_epochs", "patience", "save_every_steps",
        "log_every_steps", "eval_batch_size", "report_to", "out", "push_to_hub", "hub_public",
    ),
    "The machine": (
        "device", "workers", "bf16", "fp16", "gradient_checkpointing", "torch_compile", "resample_on", "ddp_timeout",
    ),
}  # fmt: skip


def explanations() -> dict[str, str]:
    """What ``Recipe``'s docstring says of each key, in its order.

    >>> explanations()["epochs"]
    'passes over the recordings, one crop each'
    """
    text = inspect.getdoc(Recipe) or ""
    entries = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", text.partition("Attributes:")[2], re.MULTILINE)
    return {key: " ".join(said.split()).rstrip(".").replace("``", "") for key, said in entries}


def keys_text() -> str:
    """All keys with their defaults and what they are, group by group."""
    said, defaults = explanations(), vars(Recipe())
    lines = []
    for title, keys in GROUPS.items():
        lines += ["", f"{title}:"]
        for key in keys:
            default = defaults[key]
            named = f"--{key}" + (f" {default}" if default not in ("", False, {}, []) else "")
            lines.append(f"  {named:36} {said[key]}")
    return "\n".join(lines[1:])
