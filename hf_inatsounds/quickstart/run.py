"""The main job, end to end, on the embedded archive: what a first user runs."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_inatsounds.data.loading import load_dataset
from hf_inatsounds.errors import SourceError
from hf_inatsounds.evaluation import evaluate, split_info
from hf_inatsounds.files import replacing, write_json
from hf_inatsounds.inference.predict import Detection, predict_file, write_detections
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.quickstart import make_archives
from hf_inatsounds.reports import results_text, text_table, write_report
from hf_inatsounds.reports.model_card import write_card
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.run import train

MARK_FILE = "quickstart.json"

RECIPE: dict[str, Any] = {
    "model": "ast-tiny",
    "objective": "multiclass",
    "streaming": True,
    "num_train_epochs": 36,
    "per_device_train_batch_size": 16,
    "learning_rate": 1.0e-3,
    "gain_db": 9.0,
    "shorten": 0.5,
    "frequency_masks": 1,
    "frequency_mask_bins": 6,
    "time_masks": 2,
    "time_mask_frames": 40,
    "mixup": 0.3,
    "mixup_alpha": 0.4,
    "evaluate_every_epochs": 4,
}


@dataclass
class Made:
    """What the quickstart made.

    Attributes:
        out: its folder.
        results: of the test split.
        detections: of one recording.
        seconds: step → time it took.
    """

    out: Path
    results: dict[str, Any]
    detections: list[Detection]
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        paths = {
            "archives": "archives",
            "model": "ast-tiny",
            "card": "ast-tiny/README.md",
            "predictions": "detections.csv",
        }
        return {
            "out": str(self.out),
            "paths": {name: str(self.out / path) for name, path in paths.items()},
            "test_map": self.results["metrics"]["mean"]["map"],
            "seconds": self.seconds,
            "results": self.results,
        }

    def text(self) -> str:
        """For a person: results, paths, and what to try next."""
        run = self.out / "ast-tiny"
        made = [
            ["made", "what it is"],
            [f"{self.out}/archives/", "six archives in the official layout, synthesised calls of invented species"],
            [f"{run}/", "a native transformers checkpoint, with recipe.yaml and report.md"],
            [f"{run}/evaluation-test/", "scores.parquet, results.json, report.html"],
            [f"{run}/README.md", "the model card"],
            [f"{self.out}/detections.csv", f"{len(self.detections)} windows of one long recording"],
        ]
        nexts = [
            f"hf-inatsounds evaluate {run} --source {self.out}/archives --split validation",
            f"hf-inatsounds predict {run} YOUR_RECORDING.wav --top 3",
            f"hf-inatsounds train ast-tiny.yaml --source {self.out}/archives --objective multilabel "
            f"--label_smoothing_factor 0 --output_dir {self.out}/multilabel",
            f"hf-inatsounds train wav2vec2-tiny.yaml --source {self.out}/archives "
            f"--output_dir {self.out}/wav2vec2-tiny",
        ]
        total = sum(self.seconds.values())
        steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in self.seconds.items())
        width = max(len(row[0]) for row in made)
        paths = "\n".join(f"  {path.ljust(width)}  {what}" for path, what in made[1:])
        return (
            f"{results_text(self.results)}\n\n"
            f"{_detections_table(self.detections[:5])}\n\n"
            f"made in {total:.0f} s ({steps}):\n{paths}\n\n"
            "try next:\n" + "\n".join(f"  {command}" for command in nexts)
        )


def quickstart(out: str | Path = "quickstart", *, seed: int = 0, quiet: bool = False) -> Made:
    """Archives → streaming dataset → fine-tuning → evaluation → card → prediction.

    Args:
        out: folder for all of it; an earlier quickstart in it is replaced.
        seed: of the archive and the training.
        quiet: no progress.

    Raises:
        SourceError: if ``out`` holds something else.
    """
    out = Path(out)
    _prepare(out)
    steps = _Steps(quiet)
    with steps("making the embedded archive", "archive"):
        source = str(make_archives(out / "archives", seed=seed))
    with steps("streaming its first rows", "stream"):
        first = next(iter(load_dataset(split="train", source=source)))
        steps.say(f"{first['species']}, {first['supercategory']}, {first['duration_s']} s, {first['license']}")
    with steps("fine-tuning an AST from random weights", "train"):
        recipe = make_recipe(
            {**RECIPE, "source": source, "seed": seed, "output_dir": str(out / "ast-tiny")}, where="quickstart"
        )
        train(recipe, quiet=quiet)
    with steps("evaluating on the test split by the paper's protocol", "evaluate"):
        classifier = load_classifier(out / "ast-tiny")
        results = evaluate(
            classifier,
            split_info(source, "all", "test"),
            out / "ast-tiny" / "evaluation-test",
            window=classifier.window,
            checkpoint=str(out / "ast-tiny"),
            quiet=quiet,
        )
        evaluated = out / "ast-tiny" / "evaluation-test"
        write_report(evaluated, results, FileScores.load(evaluated, ["mean"]))
    with steps("rendering the model card", "card"):
        write_card(out / "ast-tiny")
    with steps("predicting on the longest test recording", "predict"):
        longest = _longest_recording(source, out)
        detections = list(predict_file(classifier, longest))
        with replacing(out / "detections.csv") as path:
            write_detections(detections, path, "csv")
    made = Made(out, results, detections, steps.seconds)
    write_json(out / MARK_FILE, {"seconds": steps.seconds, "test_map": results["metrics"]["mean"]["map"]})
    return made


class _Steps:
    """Times the steps and names them on stderr."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}

    def __call__(self, line: str, key: str) -> _Steps:
        self.key, self.began = key, time.monotonic()
        self.say(f"[{len(self.seconds) + 1}/6] {line}")
        return self

    def say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.seconds[self.key] = round(time.monotonic() - self.began, 1)


def _prepare(out: Path) -> None:
    """Make ``out``, or clear an earlier quickstart from it; never touch anything else."""
    mark = out / MARK_FILE
    if out.exists() and any(out.iterdir()):
        if not mark.exists():
            raise SourceError("the folder is in use", where=out, expected="an empty folder, or an earlier quickstart")
        for name in ("archives", "ast-tiny"):
            shutil.rmtree(out / name, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    write_json(mark, {})  # written first, so that an interrupted quickstart can be run again


def _longest_recording(source: str, out: Path) -> Path:
    """The longest test recording as a file of its own, as a user would have one."""
    rows = load_dataset("annotations", "test", source=source, streaming=False)
    longest = max(rows, key=lambda row: row["duration_s"])["recording_id"]
    audio = next(row["audio"] for row in split_info(source, "all", "test").rows() if row["recording_id"] == longest)
    path = out / "long.wav"
    path.write_bytes(audio["bytes"])
    return path


def _detections_table(detections: list[Detection]) -> str:
    rows = [["window", "score", "species"]]
    rows += [[f"{one.start_s:.1f}-{one.end_s:.1f} s", f"{one.score:.2f}", one.species] for one in detections]
    return text_table(rows)
