"""What every family's small recipe reaches on a folder of recordings, multiclass against multilabel, as a table.

    python -m benchmarks.families FOLDER --out runs/families [--seeds 0 1] [--only ast resnet] [--table]

Each recipe ``train/recipes/FAMILY-tiny.yaml`` is trained and evaluated on validation by the command line, with
both objectives and each seed, one thread a run. Runs that are there are not done again, so that it can be stopped and
gone on with; ``--table`` only prints what is there.

Minutes are of processor time, start-up and validation included. The interval is the paired bootstrap's over
recordings (1,000 resamples) of the first seed's run; so is that of the difference of the two objectives.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from hf_inatsounds.evaluation.comparison import compare
from hf_inatsounds.evaluation.measures import Bootstrap

RECIPES = Path("train/recipes")
FAMILIES = (
    "efficientnet", "resnet", "convnext", "mobilenet", "vit", "ast", "whisper", "wav2vec2-bert", "wav2vec2", "hubert",
    "wavlm", "data2vec", "unispeech", "unispeech-sat", "sew", "sew-d", "wav2vec2-conformer",
)  # fmt: skip
OBJECTIVES = ("multiclass", "multilabel")
RESAMPLES = 1000
COST_FILE = "cost.json"


def command(*words: str) -> None:
    """Run the command line with one thread; its progress stays on stderr."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "hf_inatsounds.cli.main", *words], check=True, env=environment)


def results_of(folder: Path) -> dict[str, Any] | None:
    """A run's evaluation; None where there is none yet."""
    path = folder / "evaluation-validation" / "results.json"
    return json.loads(path.read_text()) if path.exists() else None


def run(source: str, out: Path, family: str, objective: str, seed: int) -> None:
    """Train and evaluate, unless that was done."""
    folder = out / f"{family}-{objective}-{seed}"
    if results_of(folder):
        return
    if not (folder / "train.json").exists():
        words = ["train", str(RECIPES / f"{family}-tiny.yaml"), "--source", source, "--output_dir", str(folder)]
        words += ["--objective", objective, "--seed", str(seed)]
        words += (
            ["--label_smoothing_factor", "0"] if objective == "multilabel" else []
        )  # it is multiclass targets that are
        words += ["--resume"] if (folder / "checkpoints").exists() else []
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command(*words)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        (folder / COST_FILE).write_text(json.dumps({"processor_seconds": round(spent, 1)}))
    command("evaluate", str(folder), "--source", source, "--split", "validation", "--resamples", str(RESAMPLES))


def cells(out: Path, family: str, objective: str, seeds: list[int]) -> list[str]:
    """mAP of each seed, the last epochs', the first seed's interval, and minutes a run."""
    folders = [out / f"{family}-{objective}-{seed}" for seed in seeds]
    found = [(folder, results) for folder in folders if (results := results_of(folder))]
    if not found:
        return ["", "", "", ""]
    maps = " ".join(f"{results['metrics']['mean']['map']:.3f}".lstrip("0") for _, results in found)
    trained = [json.loads((folder / "train.json").read_text()) for folder, _ in found]
    last = " ".join(f"{one['history'][-1]['map']:.3f}".lstrip("0") for one in trained)
    low, high = (f"{value:.2f}".lstrip("0") for value in found[0][1]["intervals"]["mean"]["map"])
    costs = [
        json.loads((folder / COST_FILE).read_text())["processor_seconds"]
        for folder, _ in found
        if (folder / COST_FILE).exists()
    ]
    minutes = f"{sum(costs) / len(costs) / 60:.1f}" if costs else ""
    return [maps, last, f"{low} … {high}", minutes]


def difference(out: Path, family: str, seeds: list[int]) -> str:
    """Multilabel less multiclass, with the paired interval, of the first seed that has both."""
    for seed in seeds:
        runs = [out / f"{family}-{objective}-{seed}" for objective in OBJECTIVES]
        if all(results_of(folder) for folder in runs):
            metrics = compare(runs, split="validation", how=Bootstrap(RESAMPLES))["differences"][0]["metrics"]["map"]
            low, high = metrics["interval"]
            return f"{metrics['value']:+.3f} ({low:+.2f} … {high:+.2f})"
    return ""


def table(out: Path, families: list[str], seeds: list[int]) -> str:
    """Markdown, a row a family and objective."""
    lines = [
        "| recipe | objective | validation mAP, seeds "
        + " ".join(map(str, seeds))
        + " | last epoch | 95 % interval, first seed | minutes of a core | multilabel - multiclass |",
        "|---|---|---|---|---|---:|---|",
    ]
    for family in families:
        for objective in OBJECTIVES:
            gap = difference(out, family, seeds) if objective == "multilabel" else ""
            row = [f"`{family}-tiny.yaml`", objective, *cells(out, family, objective, seeds), gap]
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder in the dataset's layout")
    parser.add_argument("--out", type=Path, default=Path("runs/families"), help="folder of the runs")
    parser.add_argument("--only", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--table", action="store_true", help="train nothing, print what is there")
    arguments = parser.parse_args()
    if not arguments.table:
        for seed in arguments.seeds:
            for family in arguments.only:
                for objective in OBJECTIVES:
                    run(arguments.source, arguments.out, family, objective, seed)
    print(table(arguments.out, arguments.only, arguments.seeds))


if __name__ == "__main__":
    main()
