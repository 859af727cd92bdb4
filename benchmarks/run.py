"""Runs the benchmarks and writes docs/benchmarks.md and docs/benchmarks.json.

    python -m benchmarks.run [--quick] [--only host --only frontends] [--out docs] [--data FOLDER]

Each benchmark runs in a process of its own. Figures of those that are not rerun stay, with the date and the machine
that they were taken on. A benchmark that fails is named, and leaves its old figures.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import goals, notes

ROOT = Path(__file__).parents[1]
LIBRARIES = (
    "torch",
    "transformers",
    "datasets",
    "pyarrow",
    "numpy",
    "soundfile",
    "soxr",
    "torchcodec",
    "kaldi-native-fbank",
)

HEAD = """# Benchmarks

`make benchmark` runs all of them and writes this page and [benchmarks.json](benchmarks.json);
`python -m benchmarks.run --only host` runs one. How each figure was taken stands above it. Ratios are between
contenders of the same run, which took turns; times alone depend on the machine, which stands below each table.
"""


@dataclass(frozen=True)
class Benchmark:
    """One module of this package.

    Attributes:
        name: the module's.
        output: how its figures come: from its function ``figures(quick)``, as JSON on "stdout", or in a file given
            with "--out".
        words: its arguments.
        quick: its arguments when it is to be quick.
        takes_data: the flag, if any, for a folder in the dataset's layout; "" for a position.
    """

    name: str
    output: str = "figures"
    words: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    takes_data: str | None = None

    def command(self, *, quick: bool, data: str | None, out: Path) -> list[str]:
        """What is started."""
        if self.output == "figures":
            return [sys.executable, "-m", "benchmarks.run", "--child", self.name, *(["--quick"] if quick else [])]
        command = [sys.executable, "-m", f"benchmarks.{self.name}", *(self.quick if quick else self.words)]
        if data and self.takes_data is not None:
            command += [word for word in (self.takes_data, data) if word]
        return [*command, "--out", str(out)] if self.output == "file" else command


BENCHMARKS = (
    Benchmark("startup", "stdout"),
    Benchmark("host"),
    Benchmark("frontends", "stdout", quick=("--rounds", "3"), takes_data="--data"),
    Benchmark("worker_memory"),
    Benchmark("crop_choice", "stdout", quick=("--quick",), takes_data=""),
    Benchmark("metrics"),
    Benchmark("score_memory"),
    Benchmark("training", "stdout", words=("--json",), quick=("--quick", "--json")),
    Benchmark("archives", "file", words=("--gigabytes", "8"), quick=("--gigabytes", "0.1")),
    Benchmark("publish", "stdout", quick=("--gb", "0.2", "--kills", "0")),
    Benchmark("official_size", "stdout", quick=("--rows", "0.002", "--steps", "4")),
    Benchmark("index_kills", "stdout", quick=("--gigabytes", "0.1", "--kills", "2")),
)
NEED_DATA = ("crop_choice",)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES if _installed(name)}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": _gpu(),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": versions,
        "load_before": None if load is None else round(load, 2),
    }


def _installed(name: str) -> bool:
    return any(True for _ in importlib.metadata.distributions(name=name))


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def run_one(benchmark: Benchmark, *, quick: bool, data: str | None) -> dict[str, Any]:
    """Figures of one benchmark, from its own process.

    Raises:
        RuntimeError: if it fails, or prints no figures.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        command = benchmark.command(quick=quick, data=data, out=out)
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}")
        text = out.read_text() if benchmark.output == "file" else done.stdout
    start = text.find("{")
    if start < 0:
        raise RuntimeError("no figures on stdout")
    found: dict[str, Any] = json.loads(text[start:])
    return found


def flattened(value: Any, name: str = "") -> list[tuple[str, Any]]:
    """Rows of a table from nested figures.

    >>> flattened({"a": {"b": 1, "c": 2.0}, "d": "x"})
    [('a: b', 1), ('a: c', 2.0), ('d', 'x')]
    """
    if isinstance(value, dict):
        return [row for key, one in value.items() for row in flattened(one, f"{name}: {key}" if name else str(key))]
    if isinstance(value, list):
        return [(name, ", ".join(str(one) for one in value))]
    return [(name, value)]


def shown(value: Any) -> str:
    """A figure as a person reads it: four digits, no more."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def page(results: dict[str, Any]) -> str:
    """docs/benchmarks.md of all results, in the registry's order."""
    parts = [HEAD]
    for benchmark in BENCHMARKS:
        if benchmark.name not in results:
            continue
        entry = results[benchmark.name]
        rows = "\n".join(f"| {name} | {shown(value)} |" for name, value in flattened(entry["figures"]))
        where = entry["machine"]
        gpu = f", {where['gpu']}" if where.get("gpu") else ""
        versions = ", ".join(f"{name} {version}" for name, version in where["libraries"].items())
        taken = (
            f"{entry['date']}{', quick' if entry['quick'] else ''}: {where['processor']}, {where['cores']} cores{gpu}, "
            f"{where['system']}, load {where['load_before']} before; Python {where['python']}, {versions}."
        )
        texts = [
            f"## {benchmark.name}",
            entry["how"],
            f"| | |\n|---|---|\n{rows}",
            goals.text(benchmark.name, entry["figures"]),
            notes.text(benchmark.name, entry["figures"]),
            taken,
        ]
        parts.append("\n\n".join(text for text in texts if text) + "\n")
    return "\n".join(parts)


def how(name: str) -> str:
    """What a module says of itself, its code kept as code."""
    import ast

    text = ast.get_docstring(ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8"))) or ""
    return text.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [one.name for one in BENCHMARKS]
    parser.add_argument(
        "--only", action="extend", type=lambda text: text.split(","), help="run these alone: host,frontends"
    )
    parser.add_argument("--quick", action="store_true", help="small and rough, to see that they run")
    parser.add_argument("--data", help="folder in the dataset's layout, for those that take real recordings")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of benchmarks.md and benchmarks.json")
    parser.add_argument("--child", choices=names, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.only or ()) - set(names):
        parser.error(f"no benchmark is called {min(unknown)}; there are {', '.join(names)}")
    if arguments.child:
        print(json.dumps(importlib.import_module(f"benchmarks.{arguments.child}").figures(arguments.quick)))
        return 0
    return run_all(arguments)


def run_all(arguments: argparse.Namespace) -> int:
    """Run what was asked for; 1 if one failed."""
    path = arguments.out / "benchmarks.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    failed = []
    for benchmark in BENCHMARKS:
        if arguments.only and benchmark.name not in arguments.only:
            continue
        if importlib.util.find_spec(f"benchmarks.{benchmark.name}") is None:
            continue
        if benchmark.name in NEED_DATA and not arguments.data:
            print(f"{benchmark.name}: passed over; it needs --data", file=sys.stderr)
            continue
        print(f"{benchmark.name} …", file=sys.stderr, flush=True)
        entry = {
            "date": datetime.date.today().isoformat(),
            "quick": arguments.quick,
            "machine": machine(),
            "how": how(benchmark.name),
        }
        try:
            entry["figures"] = run_one(benchmark, quick=arguments.quick, data=arguments.data)
        except (RuntimeError, ValueError) as error:
            failed.append(benchmark.name)
            print(f"{benchmark.name} failed: {error}", file=sys.stderr)
            continue
        results[benchmark.name] = entry
        path.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (arguments.out / "benchmarks.md").write_text(page(results), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
