"""Speed, memory and kill-safety of ``hf-inatsounds publish``, on an archive made for it.

    python -m benchmarks.publish --gb 1.5 --kills 20 [--workers 2] [--pool train.tar.gz] [--folder DIR]

Prints one JSON document:
``wav_mb_per_cpu_s``: MB of WAV a second of processor time of the whole process, start of Python included; this is the
speed of one core. ``peak_rss_mb``: of the process, as the kernel saw it. ``kills``: how many runs were killed with
SIGKILL at a random moment, and whether the run after them ended in the bytes of an undisturbed one.
"""

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hf_inatsounds.archives.forward import iterate_members
from tests.helpers.archive import RATE, SPECIES, category, pack, wav

MEAN_S = 18.5  # of the official test split
ROOT = Path(__file__).parents[1]


def made_recording(generator: np.random.Generator, duration_s: float) -> bytes:
    """Chirps over coloured noise: gzip and FLAC take about what they take of real recordings."""
    n = round(duration_s * RATE)
    noise = np.convolve(generator.standard_normal(n + 15).astype(np.float32), np.hanning(16)[1:], "valid")[:n] * 0.02
    t = np.arange(n, dtype=np.float32) / RATE
    song = np.sin(2 * np.pi * (2_000 + 800 * np.sin(2 * np.pi * 3 * t)) * t) * (np.sin(2 * np.pi * 1.3 * t) > 0.6) * 0.2
    return wav(np.clip(noise + song, -1, 1))


def real_recordings(archive: Path) -> list[bytes]:
    """The recordings of an archive, but for what is too short to be one."""
    with open(archive, "rb") as stream:
        return [content for _, content in iterate_members(stream, where=str(archive)) if len(content) > 10_000]


def make_source(folder: Path, total_bytes: float, seed: int = 0, pool: list[bytes] | None = None) -> dict[str, float]:
    """A train archive with ``total_bytes`` of WAV, ordered by category as the official ones are."""
    generator = np.random.default_rng(seed)
    if pool is None:
        pool = [made_recording(generator, s) for s in np.clip(generator.lognormal(2.4, 1.0, 60), 0.5, 300)]
    audio, annotations, order = [], [], []
    size = 0
    while size < total_bytes:
        content = int(generator.integers(len(pool)))
        order.append(content)
        size += len(pool[content])
    species = np.sort(generator.integers(0, len(SPECIES), len(order))).tolist()
    for i, (content, label) in enumerate(zip(order, species, strict=True)):
        name = f"train/{category(label)['audio_dir_name']}/{i:08d}-0000.wav"
        duration_s = (len(pool[content]) - 44) / 2 / RATE
        audio.append({"id": i, "duration": duration_s, "file_name": name, "license": 1, "rights_holder": "somebody"})
        annotations.append({"id": i, "audio_id": i, "category_id": label})
    document = {
        "info": {"description": "made for a benchmark"},
        "audio": audio,
        "categories": [category(i) for i in range(len(SPECIES))],
        "annotations": annotations,
        "licenses": [{"id": 1, "name": "CC0 1.0", "url": ""}],
    }
    pack(folder / "train.json.tar.gz", {"train.json": json.dumps(document).encode()})
    pack(folder / "train.tar.gz", [(one["file_name"], pool[i]) for one, i in zip(audio, order, strict=True)])
    packed = (folder / "train.tar.gz").stat().st_size
    return {"wav_mb": size / 1e6, "archive_mb": packed / 1e6, "recordings": len(order)}


def command(source: Path, folder: Path, workers: int, shard_mb: int) -> list[str]:
    return [sys.executable, "-m", "hf_inatsounds.cli.main", "publish", str(source), "--local-dir", str(folder),
            "--workers", str(workers), "--shard-mb", str(shard_mb), "--quiet", "--json"]  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def speed(source: Path, folder: Path, workers: int, wav_mb: float) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command(source, folder, workers, 500), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    wall_s = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    written_mb = sum(path.stat().st_size for path in (folder / "data").glob("*/*.parquet")) / 1e6
    return {
        "workers": workers,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "wav_mb_per_cpu_s": round(wav_mb / cpu_s, 1),
        "wav_mb_per_wall_s": round(wav_mb / wall_s, 1),
        "peak_rss_mb": round(after.ru_maxrss / 1e3),  # of the largest child so far
        "shards_mb": round(written_mb, 1),
        "shards": len(list((folder / "data").glob("*/*.parquet"))),
    }


def kills(folder: Path, n: int, workers: int, seed: int) -> dict[str, object]:
    """Publish a 150 MB archive again and again, killed at random moments, until ``n`` runs have died."""
    source, whole, killed = folder / "small", folder / "whole", folder / "killed"
    source.mkdir()
    make_source(source, 150e6, seed=1)
    start = time.perf_counter()
    subprocess.run(command(source, whole, workers, 5), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    lasts_s = time.perf_counter() - start
    generator = random.Random(seed)
    deaths = mirrors = 0
    while deaths < n:
        process = subprocess.Popen(command(source, killed, workers, 5), cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            process.wait(timeout=generator.uniform(0.2, 1.0) * lasts_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            deaths += process.wait() == -signal.SIGKILL
            continue
        mirrors += 1  # it came through: the next starts from nothing
        assert digests(killed) == digests(whole), "other bytes after a kill"
        subprocess.run(["rm", "-rf", str(killed)], check=True)
    subprocess.run(command(source, killed, workers, 5), check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return {
        "killed": deaths,
        "undisturbed_run_s": round(lasts_s, 1),
        "mirrors": mirrors + 1,
        "same_bytes": digests(killed) == digests(whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gb", type=float, default=1.5, help="WAV in the archive")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=Path, help="archive whose recordings are repeated, instead of made ones")
    parser.add_argument("--folder", help="where to work (default: a temporary folder)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        source = folder / "source"
        source.mkdir()
        pool = real_recordings(arguments.pool) if arguments.pool else None
        found: dict[str, object] = {"archive": (made := make_source(source, arguments.gb * 1e9, pool=pool))}
        print("archive made", made, file=sys.stderr, flush=True)
        found["speed"] = speed(source, folder / "mirror", arguments.workers, made["wav_mb"])
        if arguments.kills:
            found["kills"] = kills(folder, arguments.kills, arguments.workers, arguments.seed)
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
