"""A run's ``TrainingArguments``: transformers' own, with our defaults, and which of them a run honours.

Checked against transformers 5.18 to 5.23: an argument that is in none of the lists below is refused.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Annotated, Any

from transformers import TrainingArguments
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

from hf_inatsounds.runtime.ranges import BATCH_SIZE, MANY, SEED, Range
from hf_inatsounds.training.options import MaybeText, Positive, Share, ShareBelowOne, UpTo100, option

Count = Annotated[int, Range(0, MANY)]


@dataclass
class RunArguments(TrainingArguments):
    """Transformers' arguments, with defaults of this project and what its Trainer adds.

    Transformers opens devices and process groups as soon as its arguments are made. Here that waits for :meth:`begin`:
    a recipe is read, checked and printed without it.
    """

    output_dir: str = option("run", "Run folder.")
    num_train_epochs: Annotated[float, Range(0, 10**6, open_low=True)] = option(
        50, "Passes over the recordings, one crop of each per pass."
    )
    max_steps: Annotated[int, Range(-1, MANY)] = option(
        -1, "Optimiser steps after which the run ends; -1 leaves it to num_train_epochs."
    )
    per_device_train_batch_size: Annotated[int, BATCH_SIZE] = option(16, "Crops per process and forward pass.")
    per_device_eval_batch_size: Annotated[int, BATCH_SIZE] = option(32, "Windows per forward pass in validation.")
    gradient_accumulation_steps: Annotated[int, Range(1, 10**6)] = option(1, "Forward passes per optimiser step.")
    seed: Annotated[int, SEED] = option(0, "Seed of everything that is drawn.")
    optim: str = option(
        "adamw_torch_fused",
        "Optimiser, by transformers' name; sgd has Nesterov momentum here.",
        choices=tuple(sorted(kind.value for kind in OptimizerNames)),
    )
    momentum: ShareBelowOne = option(0.9, "Momentum of SGD; 0 for none.")
    learning_rate: Positive = option(1e-3, "Peak of the schedule.")
    layer_decay: Annotated[float, Range(0, 1, open_low=True)] = option(
        1.0, "Learning rate of a layer as a share of the next one's."
    )
    lr_scheduler_type: str = option(
        "cosine", "Schedule after the warm-up, by transformers' name.",
        choices=tuple(sorted(kind.value for kind in SchedulerType)),
    )  # fmt: skip
    lr_scheduler_kwargs: dict[str, Any] = option(
        dict, "Arguments of that schedule, by transformers' names ({num_decay_steps: 100})."
    )
    warmup_steps: Annotated[float, Range(0, MANY)] = option(
        0.1, "Steps over which the rate rises; below 1 a share of all steps."
    )
    warmup_start_share: Share = option(0.0, "Rate at the first step, as a share of the peak.")
    min_learning_rate_share: Share = option(0.0, "Rate that cosine and linear end at, as a share of the peak.")
    weight_decay: UpTo100 = option(0.05, "Weight decay of all weights but biases and norms.")
    adam_beta1: ShareBelowOne = option(0.9, "β₁ of AdamW.")
    adam_beta2: ShareBelowOne = option(0.98, "β₂ of AdamW.")
    adam_epsilon: Annotated[float, Range(0, 1, open_low=True)] = option(1e-8, "ε of AdamW.")
    max_grad_norm: Annotated[float, Range(0, MANY, open_low=True)] = option(1.0, "Norm that gradients are clipped to.")
    label_smoothing_factor: ShareBelowOne = option(0.0, "Smoothing of multiclass targets.")
    ema_decay: ShareBelowOne = option(
        0.0, "Decay of the moving average of the weights that is validated and saved; 0 for the weights themselves."
    )
    evaluate_every_epochs: Annotated[int, Range(1, 10**6)] = option(1, "Epochs from one validation to the next.")
    early_stopping_patience: Count = option(0, "Validations without a better mAP after which the run ends; 0 goes on.")
    save_steps: Annotated[float, Range(0, MANY)] = option(
        0, "Steps from one checkpoint to the next, besides those of validations; below 1 a share of all; 0 for none."
    )
    save_total_limit: Annotated[int, Range(1, MANY)] = option(2, "Checkpoints that are kept; the best is among them.")
    logging_steps: Annotated[float, Range(0, MANY)] = option(
        0, "Steps from one record of loss and rate to the next; 0: once per epoch, and at least every 50."
    )
    report_to: str = option("none", "Trackers: none, or some of tensorboard, trackio, wandb, with commas between.")
    push_to_hub: bool = option(False, "Push the finished run to the Hub.")
    hub_model_id: MaybeText = option("", "Model id on the Hub (owner/name).")
    hub_private_repo: bool = option(True, "Whether that model is private.")
    dataloader_num_workers: Annotated[int, Range(0, 1_024)] = option(0, "Processes that decode crops.")
    bf16: bool = option(False, "Train in bfloat16.")
    fp16: bool = option(False, "Train in float16, with scaled gradients.")
    gradient_checkpointing: bool = option(
        False, "Compute activations twice instead of keeping them: less memory, a third more time."
    )
    gradient_checkpointing_kwargs: dict[str, Any] = option(
        dict, "Arguments of gradient checkpointing; without any, {use_reentrant: false}."
    )
    torch_compile: bool = option(False, "Compile the model.")
    ddp_timeout: Annotated[int, Range(1, 10**6)] = option(
        1800, "Seconds that processes wait for each other's gradients before the run ends."
    )

    def __post_init__(self) -> None:
        """Nothing yet: see :meth:`begin`."""

    def warmup_of(self, steps: int) -> int:
        """Steps of the warm-up of a run of ``steps``."""
        return _steps(self.warmup_steps, steps)

    def saves_every(self, steps: int) -> int:
        """Steps from one checkpoint to the next in a run of ``steps``; 0 for none but those of validations."""
        return _steps(self.save_steps, steps) or int(self.save_steps > 0)

    def begin(self, **settled: Any) -> RunArguments:
        """The arguments as the Trainer takes them, with what only the run knows; devices are opened now.

        Args:
            settled: arguments that depend on the data, the model or the processes.
        """
        made = copy.copy(self)
        for name, value in settled.items():
            setattr(made, name, value)
        super(RunArguments, made).__post_init__()
        return made


def _steps(asked: float, steps: int) -> int:
    """A number of steps, or a share of ``steps``."""
    return round(asked * steps) if asked < 1 else int(asked)


HONOURED = (
    "optim_args", "optim_target_modules", "tf32",
    "torch_compile_backend", "torch_compile_mode", "torch_empty_cache_steps", "logging_strategy", "logging_first_step",
    "log_on_each_node", "log_level", "log_level_replica", "run_name", "project", "full_determinism",
    "dataloader_pin_memory", "dataloader_prefetch_factor",
    "dataloader_multiprocessing_context", "ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_broadcast_buffers",
    "ddp_static_graph", "fsdp", "fsdp_config", "debug", "skip_memory_metrics",
)  # fmt: skip
"""Arguments that go to transformers as they are; their defaults are transformers' own."""

_PROTOCOL = "validation follows the paper's protocol"
_WHOLE = "batches are made whole for all processes together, each recording once per epoch"
_BEST = "the checkpoint with the best validation mAP is kept; validation_split: none keeps the last"
_LANGUAGE = "it is for language models"
_LATER = "what goes to the Hub is the finished run, by push_to_hub"
REFUSED = {
    "average_tokens_across_devices": "the loss of a step is always the mean over the recordings of all processes",
    "bf16_full_eval": "validation runs in the precision of training", "fp16_full_eval": "validation runs in the "
    "precision of training",
    "activation_checkpointing": "the key is gradient_checkpointing",
    "activation_checkpointing_kwargs": "the key is gradient_checkpointing_kwargs",
    "use_liger_kernel": _LANGUAGE, "liger_kernel_config": _LANGUAGE, "use_cache": _LANGUAGE,
    "neftune_noise_alpha": _LANGUAGE, "include_num_input_tokens_seen": _LANGUAGE,
    "auto_find_batch_size": _WHOLE, "dataloader_drop_last": _WHOLE, "dataloader_in_order": _WHOLE,
    "accelerator_config": _WHOLE, "ignore_data_skip": "a resumed run goes on at the recording where it stopped",
    "dataloader_persistent_workers": "workers start anew with each epoch, whose draws they make",
    "remove_unused_columns": "the collator chooses the columns", "label_names": "labels come from the dataset",
    "train_sampling_strategy": "the key is sampling", "length_column_name": "the key is sampling",
    "data_seed": "seed draws everything", "use_cpu": "the key is device: cpu", "no_cuda": "the key is device: cpu",
    "use_mps_device": "the key is device: mps", "ddp_backend": "the device decides on it: NCCL for GPUs, else gloo",
    "parallelism_config": "validation scores a whole copy of the model; fsdp divides it", "deepspeed": "validation "
    "scores a whole copy of the model, which ZeRO does not give; fsdp divides the model",
    "logging_nan_inf_filter": "a run ends at a loss that is not finite",
    "disable_tqdm": "the command has its own progress bar; --quiet hides it",
    "trackio_space_id": _LATER, "trackio_bucket_id": _LATER, "trackio_static_space_id": _LATER,
    "hub_strategy": _LATER, "hub_always_push": _LATER, "hub_revision": _LATER,
    "hub_token": "tokens are never stored; log in with hf auth login",
    "eval_strategy": "the key is evaluate_every_epochs", "eval_steps": "the key is evaluate_every_epochs",
    "eval_delay": "the key is evaluate_every_epochs", "eval_on_start": "the key is evaluate_every_epochs",
    "prediction_loss_only": _PROTOCOL, "eval_do_concat_batches": _PROTOCOL, "eval_use_gather_object": _PROTOCOL,
    "eval_accumulation_steps": _PROTOCOL, "include_for_metrics": _PROTOCOL, "batch_eval_metrics": _PROTOCOL,
    "load_best_model_at_end": _BEST, "metric_for_best_model": _BEST, "greater_is_better": _BEST,
    "save_only_model": "a run could not go on from such a checkpoint",
    "save_strategy": "checkpoints come with validations, and by save_steps",
    "save_on_each_node": "the first process writes the run folder",
    "enable_jit_checkpoint": "SIGTERM and SIGINT save a checkpoint in any case",
    "restore_callback_states_from_checkpoint": "a resumed run takes up its state by itself",
    "do_train": "train trains", "do_eval": "train validates; evaluate evaluates", "do_predict": "predict predicts",
    "resume_from_checkpoint": "the flag is --resume", "local_rank": "the launcher sets it",
    "overwrite_output_dir": "a run owns its folder; --resume goes on in it",
    "torchdynamo": "the key is torch_compile", "jit_mode_eval": _PROTOCOL, "past_index": _LANGUAGE,
    "warmup_ratio": "the key is warmup_steps, below 1 for a share", "group_by_length": "the key is sampling",
    "fsdp_min_num_params": "the key is fsdp_config", "fsdp_transformer_layer_cls_to_wrap": "the key is fsdp_config",
    "half_precision_backend": "PyTorch's own is used", "fp16_backend": "PyTorch's own is used",
    "fp16_opt_level": "PyTorch's own is used", "tpu_num_cores": "it runs on CUDA, XPU, MPS and CPU",
    "tpu_metrics_debug": "it runs on CUDA, XPU, MPS and CPU", "mp_parameters": "it is SageMaker's own",
    "push_to_hub_model_id": "the key is hub_model_id", "push_to_hub_organization": "the key is hub_model_id",
    "push_to_hub_token": "tokens are never stored; log in with hf auth login",
    "ray_scope": "it is of hyper-parameter searches", "include_tokens_per_second": _LANGUAGE,
    "include_inputs_for_metrics": _PROTOCOL, "eval_use_gather": _PROTOCOL, "use_legacy_prediction_loop": _PROTOCOL,
    "save_safetensors": "weights are always saved as safetensors",
    "logging_dir": "it is tensorboard/ in the run folder",
    "per_gpu_train_batch_size": "the key is per_device_train_batch_size",
    "per_gpu_eval_batch_size": "the key is per_device_eval_batch_size",
    "dispatch_batches": _WHOLE, "split_batches": _WHOLE,
}  # fmt: skip
"""Arguments of transformers, today's and former ones, that a run does not take: why, or what says it here."""
