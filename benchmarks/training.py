"""Training throughput against transformers' own audio-classification example: same model, recordings and process.

    python -m benchmarks.training [--quick] [--pool train.tar.gz]

The peer is examples/pytorch/audio-classification/run_audio_classification.py: ``random_subsample`` and the feature
extractor in ``set_transform``, ``Trainer`` with ``remove_unused_columns=False``. Its ``Audio`` column decodes whole
recordings by torchcodec; where that is not installed, soundfile and soxr do the same here. Both train the same AST from
the same Arrow files, in turns; a turn's first steps are not counted. On a machine with a GPU, AST-base in bfloat16 too.
"""

import argparse
import importlib.util
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from random import randint
from typing import Any

import datasets
import numpy as np
import soundfile as sf
import soxr
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from benchmarks.publish import make_source, real_recordings
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import Classifier
from hf_inatsounds.runtime.devices import frontend_device
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.setup import set_up

WARM_UP_STEPS = 3
AST_BASE: dict[str, Any] = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "num_mel_bins": 128, "patch_size": 16, "frequency_stride": 10, "time_stride": 10,
}  # fmt: skip
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "4090": 165e12, "T4": 65e12}
"""Dense bfloat16 (T4: float16) FLOPs a second, as the makers state them."""


class Clock(TrainerCallback):
    """Time and examples after the first steps."""

    def __init__(self, examples_a_step: int) -> None:
        self.examples_a_step = examples_a_step
        self.began, self.cpu_began, self.steps = 0.0, 0.0, 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if state.global_step == WARM_UP_STEPS:
            self.began, self.cpu_began = time.monotonic(), time.process_time()
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
        self.steps = state.global_step - WARM_UP_STEPS
        self.seconds = time.monotonic() - self.began
        self.cpu_seconds = time.process_time() - self.cpu_began

    @property
    def examples_a_second(self) -> float:
        return self.steps * self.examples_a_step / self.seconds


class TimedTrainer(Trainer):
    """The example's Trainer; only its waiting for data is timed."""

    waited_s = 0.0

    def get_batch_samples(self, *arguments: Any, **options: Any) -> Any:
        began = time.monotonic()
        found = super().get_batch_samples(*arguments, **options)
        self.waited_s += time.monotonic() - began
        return found


def random_subsample(wav: np.ndarray, max_length: float, sample_rate: int = 16_000) -> np.ndarray:
    """The example's own."""
    sample_length = round(sample_rate * max_length)
    if len(wav) <= sample_length:
        return wav
    random_offset = randint(0, len(wav) - sample_length - 1)
    return wav[random_offset : random_offset + sample_length]


def decoded(audio: Any, rate: int) -> np.ndarray:
    """A whole recording at ``rate``, as datasets' Audio feature hands it out."""
    if not isinstance(audio, dict):  # torchcodec's decoder
        return audio["array"]
    samples, own = sf.read(io.BytesIO(audio["bytes"]), dtype="float32")
    return samples if own == rate else soxr.resample(samples, own, rate)


def peer_trainer(recipe: Recipe, classifier: Classifier, rows: Any) -> TimedTrainer:
    """What run_audio_classification.py builds."""
    extractor = classifier.feature_extractor
    name, rate = extractor.model_input_names[0], extractor.sampling_rate
    if importlib.util.find_spec("torchcodec"):
        rows = rows.cast_column("audio", datasets.Audio(sampling_rate=rate))

    def train_transforms(batch: dict[str, Any]) -> dict[str, Any]:
        subsampled = [random_subsample(decoded(audio, rate), recipe.data.window_s, rate) for audio in batch["audio"]]
        inputs = extractor(subsampled, sampling_rate=rate)
        return {name: inputs.get(name), "labels": list(batch["label"])}

    rows.set_transform(train_transforms, output_all_columns=False)
    arguments = TrainingArguments(
        output_dir=str(recipe.out / "peer"),
        remove_unused_columns=False,
        per_device_train_batch_size=recipe.training.per_device_train_batch_size,
        learning_rate=recipe.training.learning_rate,
        max_steps=recipe.training.max_steps,
        bf16=recipe.training.bf16,
        dataloader_num_workers=recipe.training.dataloader_num_workers,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        logging_strategy="no",
        use_cpu=not torch.cuda.is_available(),
    )
    return TimedTrainer(model=classifier.model, args=arguments, train_dataset=rows, processing_class=extractor)


def turn(recipe: Recipe, who: str) -> dict[str, float]:
    """One measured run of ours or the peer's."""
    setup = set_up(recipe)
    if who == "ours":
        trainer: Any = setup.trainer()
        trainer.add_callback(_epochs_told(trainer.batches))
    else:
        trainer = peer_trainer(recipe, setup.classifier, setup.info.rows(streaming=False))
    trainer.remove_callback(PrinterCallback)
    trainer._save_checkpoint = lambda *_, **__: None  # neither writes while it is timed
    clock = Clock(recipe.training.per_device_train_batch_size)
    trainer.add_callback(clock)
    trainer.train()
    found = {"examples_a_second": clock.examples_a_second, "waiting_share": trainer.waited_s / _wall(trainer, clock)}
    if not recipe.training.dataloader_num_workers:  # what other work on the machine changes least
        found["examples_a_cpu_second"] = clock.steps * recipe.training.per_device_train_batch_size / clock.cpu_seconds
    if torch.cuda.is_available():
        found["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        flops = 3 * forward_flops(setup.classifier, recipe)  # backward costs twice the forward pass
        peak = next((value for name, value in PEAK_FLOPS.items() if name in torch.cuda.get_device_name()), None)
        if peak:
            found["model_flops_utilisation"] = clock.examples_a_second * flops / peak
    return found


def _wall(trainer: Any, clock: Clock) -> float:
    return clock.seconds * (clock.steps + WARM_UP_STEPS) / clock.steps


def _epochs_told(batches: Any) -> TrainerCallback:
    class Told(TrainerCallback):
        epoch = 0

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            batches.set_epoch(self.epoch)
            self.epoch += 1

    return Told()


def forward_flops(classifier: Classifier, recipe: Recipe) -> float:
    """FLOPs of one example's forward pass, the frontend not counted."""
    size = round(recipe.data.window_s * classifier.sampling_rate)
    classifier.frontend.to(frontend_device(classifier.model.device))  # the peer's turn leaves it on the CPU
    inputs = classifier.inputs(torch.zeros(1, size), torch.tensor([size]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        classifier.model.eval()(**inputs)
    return float(counter.get_total_flops())


def compared(recipe: Recipe, turns: int) -> dict[str, Any]:
    """Medians of both, in turns, and their ratio."""
    runs: dict[str, list[dict[str, float]]] = {"transformers": [], "ours": []}
    for _ in range(turns):
        for who, found in runs.items():
            found.append(turn(recipe, who))
    summary: dict[str, Any] = {
        who: {key: round(statistics.median(one[key] for one in found), 4) for key in found[0]}
        for who, found in runs.items()
    }
    pairs = zip(runs["ours"], runs["transformers"], strict=True)
    summary["ratios"] = [round(ours["examples_a_second"] / peer["examples_a_second"], 2) for ours, peer in pairs]
    summary["ratio"] = statistics.median(summary["ratios"])
    if "examples_a_cpu_second" in summary["ours"]:
        cpu = [summary[who]["examples_a_cpu_second"] for who in ("ours", "transformers")]
        summary["cpu_ratio"] = round(cpu[0] / cpu[1], 2)
    return summary


def figures(quick: bool = False, pool: Path | None = None) -> dict[str, Any]:
    """All figures of this benchmark."""
    on_gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        datasets.config.HF_DATASETS_CACHE = folder / "cache"
        recordings = None if pool is None else real_recordings(pool)
        make_source(folder, 40e6 if quick else (1.5e9 if on_gpu else 120e6), pool=recordings)
        split_info(str(folder), "all", "train").rows(streaming=False)
        base = {
            "model": "ast-tiny", "source": str(folder), "output_dir": str(folder / "run"), "validation_split": "none",
            "per_device_train_batch_size": 16, "max_steps": WARM_UP_STEPS + (6 if quick else 20), "logging_steps": 1000,
        }  # fmt: skip
        found: dict[str, Any] = {
            "decoder_of_peer": "torchcodec" if importlib.util.find_spec("torchcodec") else "soundfile and soxr",
            "processors": len(os.sched_getaffinity(0)),
        }
        if not on_gpu:
            torch.set_num_threads(1)
            for workers in (0,) if quick else (0, 1):
                recipe = make_recipe({**base, "dataloader_num_workers": workers}, where="benchmark")
                found[f"cpu, ast-tiny, 3 s, {workers} workers"] = compared(recipe, 1 if quick else 3)
            return found
        for window_s in (10.24, 3.0):
            changes = {
                "config": AST_BASE, "window_s": window_s, "stride_s": window_s / 2, "bf16": True,
                "dataloader_num_workers": 12,
                "per_device_train_batch_size": 64, "max_steps": 20 if quick else 60,
            }  # fmt: skip
            recipe = make_recipe({**base, **changes}, where="benchmark")
            found[f"{torch.cuda.get_device_name()}, AST-base bf16, {window_s:g} s"] = compared(recipe, 1)
        return found


def table(found: dict[str, Any]) -> str:
    """What a person reads."""
    lines = [f"peer decodes with {found['decoder_of_peer']}; {found['processors']} processors"]
    for title, one in found.items():
        if isinstance(one, dict):
            lines.append(f"{title}: {one['ratio']:g} times as fast (turns: {one['ratios']})")
            lines += [f"  {who:13}" + ", ".join(f"{k} {v:g}" for k, v in one[who].items()) for who in list(one)[:2]]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute rather than ten")
    parser.add_argument("--pool", type=Path, help="an archive with real recordings to draw from")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    made = figures(asked.quick, asked.pool)
    print(json.dumps(made, indent=2) if asked.json else table(made))
