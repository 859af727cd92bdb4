"""Index builds killed at random moments: does the rerun end in the same bytes?

python -m benchmarks.index_kills --kills 20 --gigabytes 0.4
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.noise import write_noise


def command(source: Path, out: Path) -> list[str]:
    module = [sys.executable, "-m", "hf_inatsounds.cli.main", "index"]
    return [*module, str(source), "--out", str(out), "--split", "train", "--quiet"]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("train.*"))}


def killed_builds(source: Path, folder: Path, kills: int, seed: int) -> dict[str, object]:
    """Build until ``kills`` builds have died; every one that comes through must equal an undisturbed one."""
    began = time.perf_counter()
    subprocess.run(command(source, folder / "whole"), check=True, stdout=subprocess.DEVNULL)
    lasts_s = time.perf_counter() - began
    expected, out = digests(folder / "whole"), folder / "killed"
    generator = random.Random(seed)
    deaths = indexes = 0
    while True:
        process = subprocess.Popen(command(source, out), stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=generator.uniform(0.1, 1.0) * lasts_s if deaths < kills else None)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            deaths += process.wait() == -signal.SIGKILL
            continue
        indexes += 1
        if process.returncode or digests(out) != expected:
            raise SystemExit(f"after {deaths} kills: exit code {process.returncode}, or other bytes")
        if deaths >= kills:
            return {"killed": deaths, "indexes": indexes, "same_bytes": True, "undisturbed_s": round(lasts_s, 1)}
        shutil.rmtree(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--gigabytes", type=float, default=0.4, help="of the compressed archive")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "source")
        source.mkdir()
        write_noise(source, "train", max(int(arguments.gigabytes * 1e9 / 345_000), 300), species=40)
        print(json.dumps(killed_builds(source, Path(name), arguments.kills, arguments.seed)))


if __name__ == "__main__":
    main()
