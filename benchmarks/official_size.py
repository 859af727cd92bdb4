"""Every command at the official size, or a share of it: processor time, peak memory, and how both grow.

    python -m benchmarks.official_size                  # a fiftieth of the recordings and twice that, all 5,569 species
    python -m benchmarks.official_size --rows 0.5       # half of the recordings and all of them

Writes a synthetic archive (`benchmarks.synthetic_archive`) in two sizes and runs the commands on each as a user does,
one after the other. Processor time is of a command with all its processes, memory is the peak of the largest of them
(ru_maxrss). The exponent is that of processor time over recordings, log(s₂ / s₁) / log(n₂ / n₁): 1 is linear. At a
small share, starting Python and importing torch is most of it, so an exponent there shows only what grows too fast.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS, STEPS = 0.02, 150
MOST_EXPONENT, MOST_GB, MOST_GB_ALL_CLASSES = 1.1, 1.5, 4.0
ALL_CLASSES = "evaluate --classes all"

SMALL_MODEL = """model: ast-tiny
window_s: 0.5
stride_s: 0.5
per_device_train_batch_size: 8
validation: cheap
validation_recordings: 50
evaluate_every_epochs: 1000
"""


def commands(folder: Path, steps: int) -> dict[str, list[str]]:
    """What is run on the archives in ``folder``, in this order: name → words of ``hf-inatsounds``."""
    archives, index, run, prior = (str(folder / name) for name in ("archives", "index", "run", "prior.safetensors"))
    scoring = ["evaluate", run, "--source", archives, "--index", index, "--split", "test"]
    recipe, every = str(folder / "recipe.yaml"), f"{run}/evaluation-all-classes"
    return {
        "annotations": ["annotations", archives],
        "index": ["index", archives, "--out", index],
        "verify": ["verify", archives],
        "publish": ["publish", archives, "--local-dir", str(folder / "mirror")],
        "train": [
            "train",
            recipe,
            "--source",
            archives,
            "--index",
            index,
            "--output_dir",
            run,
            "--max_steps",
            f"{steps}",
        ],
        "geo-prior": ["geo-prior", archives, "--out", prior],
        "evaluate": [*scoring, "--geo-prior", prior],
        ALL_CLASSES: [*scoring, "--classes", "all", "--out", every],
        "compare": ["compare", f"{run}/evaluation-test", f"{run}/evaluation-test"],  # with itself: costs what two cost
        "card": ["card", run],
    }


def measured(words: list[str]) -> dict[str, float]:
    """Processor seconds of a command with its processes, and GB of the largest.

    Raises:
        RuntimeError: if it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(
            [sys.executable, "-m", *words], env=environment, stdout=subprocess.DEVNULL, stderr=told
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            last = told.read().decode(errors="replace").strip().splitlines()[-3:]
            raise RuntimeError(f"{' '.join(words)}: exit code {process.returncode}: {' | '.join(last)}")
    return {"cpu_s": used.ru_utime + used.ru_stime, "gb": used.ru_maxrss * 1024 / 1e9}


def exponent(smaller: float, larger: float, growth: float) -> float:
    """How a cost grows with the number of recordings.

    >>> exponent(3.0, 12.0, 2.0), exponent(3.0, 6.0, 2.0)
    (2.0, 1.0)
    """
    return math.log(larger / smaller) / math.log(growth)


def run_size(folder: Path, rows: float, steps: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Make the archives and run all commands on them: ``recordings``, and name → seconds and GB."""
    say(f"rows {rows:g}: making the archives")
    measured(["benchmarks.synthetic_archive", str(folder / "archives"), "--rows", f"{rows}"])
    (folder / "recipe.yaml").write_text(SMALL_MODEL, encoding="utf-8")
    found: dict[str, Any] = {}
    for name, words in commands(folder, steps).items():
        found[name] = measured(["hf_inatsounds.cli.main", *words, "--quiet"])
        say(f"rows {rows:g}: {name} {found[name]['cpu_s']:.1f} s, {found[name]['gb']:.2f} GB")
    manifest = json.loads((folder / "mirror/manifest.json").read_text(encoding="utf-8"))
    return {"recordings": sum(manifest["configs"]["annotations"].values()), "commands": found}


def figures_of(sizes: list[dict[str, Any]]) -> dict[str, Any]:
    """The table of one or two sizes; exponents where there are two.

    >>> sizes = [{"recordings": n, "commands": {"card": {"cpu_s": 2.0 * n, "gb": 0.3}}} for n in (10, 20)]
    >>> figures_of(sizes)["card"]
    {'CPU s': 40.0, 'largest process, GB': 0.3, 'exponent': 1.0}
    """
    first, last = sizes[0], sizes[-1]
    found: dict[str, Any] = {"recordings": last["recordings"]}
    if len(sizes) > 1:
        found["recordings of the smaller one"] = first["recordings"]
    for name, used in last["commands"].items():
        found[name] = {"CPU s": round(used["cpu_s"], 2), "largest process, GB": round(used["gb"], 3)}
        if len(sizes) > 1:
            growth = last["recordings"] / first["recordings"]
            found[name]["exponent"] = round(exponent(first["commands"][name]["cpu_s"], used["cpu_s"], growth), 3)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=ROWS, help="share of the official number of recordings")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training")
    parser.add_argument("--once", action="store_true", help="one size alone: no exponents")
    parser.add_argument("--folder", type=Path, help="where archives and runs go, and stay (default: temporary)")
    arguments = parser.parse_args()
    shares = [arguments.rows] if arguments.once else [arguments.rows, 2 * arguments.rows]
    if not 0 < shares[0] <= shares[-1] <= 1:
        parser.error(f"--rows must be above 0 and at most {1 if arguments.once else 0.5}, got {arguments.rows:g}")
    with tempfile.TemporaryDirectory() as temporary:
        sizes = []
        for rows in shares:
            folder = (arguments.folder or Path(temporary)) / f"rows-{rows:g}"
            folder.mkdir(parents=True, exist_ok=True)
            sizes.append(run_size(folder, rows, arguments.steps, lambda line: print(line, file=sys.stderr, flush=True)))
    print(json.dumps(figures_of(sizes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
