"""Memory of joining, reading and measuring scores at the official size: 49,527 recordings × all 5,569 classes.

    python -m benchmarks.score_memory          # 3.3 GB of drawn scores in a temporary folder; two minutes of processor
    python -m benchmarks.score_memory --quick  # a twentieth of the recordings

Each step's peak is of the process's own memory (RssAnon, read every 50 ms); files that are mapped are counted in
the last line, since the system takes them back where it needs the memory.
"""

import argparse
import resource
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.evaluation import Bootstrap, geo_measures, measures_of, metrics_of
from hf_inatsounds.geo import Reweighting, fit_prior
from hf_inatsounds.metrics.pooling import POOLINGS
from hf_inatsounds.scoring import FileScores, folder
from hf_inatsounds.scoring.folder import WORK, Blocks
from hf_inatsounds.scoring.recordings import BLOCK

FILES, CLASSES, PRESENT, WINDOWS, PLACES = 49_527, 5_569, 1_212, 4, 20_000


class Peak:
    """The largest RssAnon since it was last asked for, in GiB."""

    def __init__(self) -> None:
        self._kib = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self._kib = max(self._kib, int(line.split()[1]))
            time.sleep(0.05)

    def take(self) -> float:
        time.sleep(0.06)
        held, self._kib = self._kib / 2**20, 0
        return held


def write_blocks(blocks: Blocks, files: int, generator: np.random.Generator) -> None:
    """Drawn scores in the form that scoring leaves them in, recordings in no order."""
    present = np.sort(generator.choice(CLASSES, PRESENT, replace=False))
    ids, labels = generator.permutation(files), present[np.arange(files) % PRESENT]
    noise = generator.random((300, CLASSES), dtype=np.float32) ** 8
    for number, rows in enumerate(np.split(np.arange(files), np.arange(BLOCK, files, BLOCK))):
        n = len(rows)
        scores = noise[generator.integers(0, 300, n)] * generator.uniform(0.5, 1.5, (n, 1)).astype(np.float32)
        scores[np.arange(n), labels[rows]] += 2 * generator.random(n, dtype=np.float32)
        scores /= scores.sum(axis=1, keepdims=True)
        place = np.stack([generator.uniform(-60, 60, n), generator.uniform(-180, 180, n)], axis=1)
        windows = (np.arange(n).repeat(WINDOWS), np.tile([0.0, 3.0], (WINDOWS * n, 1)),
                   scores.argmax(axis=1).repeat(WINDOWS), np.zeros(WINDOWS * n, np.int64))  # fmt: skip
        every = dict.fromkeys(POOLINGS, scores)
        table, of_windows = FileScores(
            ids[rows], labels[rows], place, every, np.arange(CLASSES), *windows
        ).tables()  # fmt: skip
        folder._write(blocks.path(number, "windows"), of_windows)
        about = {**table.schema.metadata, b"inspections": b"[]"}
        folder._write(blocks.path(number, "scores"), table.replace_schema_metadata(about))


def figures(quick: bool = False) -> dict[str, Any]:
    """GiB of each step."""
    files = FILES // 20 if quick else FILES
    generator = np.random.default_rng(0)
    space = LabelSpace(tuple(
        Taxon(f"G{c // 3} s{c}", "", "Aves", ("A", "B", f"c{c // 900}", f"o{c // 100}", f"f{c // 20}", f"g{c // 3}",
                                               f"s{c}"), True) for c in range(CLASSES)
    ))  # fmt: skip
    found: dict[str, Any] = {"files": files, "classes": CLASSES, "present": PRESENT}
    with tempfile.TemporaryDirectory() as out:
        blocks = Blocks(Path(out) / WORK, {})
        blocks.folder.mkdir()
        write_blocks(blocks, files, generator)
        peak = Peak()
        blocks.join(Path(out), {"split": "test"})
        found["gib_join"] = peak.take()
        scores = FileScores.load(out, ["mean"])
        metrics_of(scores, space)
        found["gib_metrics"] = peak.take()
        measures_of(scores, space, generator.integers(0, 200, CLASSES), Bootstrap())
        found["gib_intervals_classes_groups"] = peak.take()
        latitude, longitude = generator.uniform(-60, 60, PLACES), generator.uniform(-180, 180, PLACES)
        prior = fit_prior(latitude, longitude, generator.integers(0, CLASSES, PLACES), space.species)
        geo_measures(scores, space, prior, Reweighting("soft"), Bootstrap())
        found["gib_with_a_prior"] = peak.take()
    return {**found, "gib_with_mapped_files": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    for key, value in figures(parser.parse_args().quick).items():
        print(f"{key:40s} {value:,.4g}" if isinstance(value, float) else f"{key:40s} {value}")


if __name__ == "__main__":
    main()
