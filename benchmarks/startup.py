"""How long a user waits before anything happens: importing the package, and --help.

    python -m benchmarks.startup

Ratios are to an empty Python in the same run.
"""

import json
import statistics
import subprocess
import sys
import time

CASES = {
    "python": ["-c", ""],
    "import hf_inatsounds": ["-c", "import hf_inatsounds"],
    "hf-inatsounds --help": ["-m", "hf_inatsounds.cli.main", "--help"],
    "import transformers.Trainer": ["-c", "from transformers import Trainer"],
}


def measure(rounds: int = 7) -> dict[str, float]:
    """Median seconds of each case, the cases taking turns."""
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, words in CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], capture_output=True, check=True)
            times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    medians = measure()
    found = {name: {"seconds": round(s, 3), "ratio": round(s / medians["python"], 1)} for name, s in medians.items()}
    print(json.dumps(found, indent=2))
