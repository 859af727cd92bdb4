"""All file-level metrics at the size of the official test split, against the authors' algorithm.

    python -m benchmarks.metrics          # 49,527 files of four windows, 1,212 present of 5,569 classes: some minutes
    python -m benchmarks.metrics --quick  # a twentieth of it

Logits are drawn, portion by portion; drawing them is not timed. The authors' way, per-file Python loops over lists and
sklearn a class, is timed in the same process on fewer files and classes and **extrapolated**: its loop over files in
proportion to files × classes, its sklearn calls to n log n of the files and to the classes. Both get the same logits
there, and have to agree to 1e-6.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from hf_inatsounds.metrics import FilePool, bootstrap, centred_interval, file_metrics
from hf_inatsounds.schema import RANKS

FILES, CLASSES, PRESENT, WINDOWS = 49_527, 5_569, 1_212, 4
PORTION = 128  # files whose windows are scored together


def portions(files: int, classes: int, labels: np.ndarray, present: np.ndarray, seed: int) -> Iterator[tuple]:
    """(first file, logits (W, classes) float32, file_index (W,)) of one portion after another."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((PORTION * WINDOWS + 997, classes), dtype=np.float32)
    for first in range(0, files, PORTION):
        n = min(PORTION, files - first)
        start = int(generator.integers(0, 997))
        logits = 2.0 * noise[start : start + n * WINDOWS]
        index = np.repeat(np.arange(n), WINDOWS)
        logits[np.arange(n * WINDOWS), labels[first : first + n][index]] += 5.0
        logits *= generator.uniform(0.8, 1.2, (len(logits), 1)).astype(np.float32)
        yield first, logits, index


def ours(files: int, classes: int, labels: np.ndarray, present: np.ndarray, ranks: list, seed: int) -> dict[str, Any]:
    """Seconds of each step, and the metrics."""
    scores = np.empty((files, len(present)), np.float32)
    seconds = 0.0
    for first, logits, index in portions(files, classes, labels, present, seed):
        began = time.perf_counter()
        n = int(index[-1]) + 1
        pool = FilePool(n, len(present))
        pool.add(np.take(logits, present, axis=1), index)
        scores[first : first + n] = pool.scores()["mean"]
        seconds += time.perf_counter() - began
    began = time.perf_counter()
    columns = np.searchsorted(present, labels)
    found = file_metrics(scores, columns, present=np.arange(len(present)), ranks=[ranks[c] for c in present])
    ranking = time.perf_counter() - began
    return {"pooling": seconds, "metrics": ranking, "found": found, "scores": scores}


def authors(files: int, classes: int, labels: np.ndarray, present: np.ndarray, ranks: list, seed: int) -> dict:
    """Their algorithm as docs describe it: lists a file, then sklearn a class on lists."""
    scores: list[list[float]] = []
    per_file = 0.0
    for _, logits, index in portions(files, classes, labels, present, seed):
        absent = np.ones(classes, bool)
        absent[present] = False
        began = time.perf_counter()
        # theirs is the batch's smallest logit; far below it, a score depends on no batch, and can be compared with ours
        logits[:, absent] = logits.min() - 1e4
        for file in range(int(index[-1]) + 1):
            rows = []
            for window in logits[index == file]:
                exponents = np.exp(window.astype(np.float64) - window.max())
                rows.append((exponents / exponents.sum()).tolist())
            scores.append([sum(column) / len(column) for column in zip(*rows, strict=True)])
        per_file += time.perf_counter() - began
    began = time.perf_counter()
    values = []
    for c in present.tolist():
        column, target = [row[c] for row in scores], [int(label == c) for label in labels]
        precision, recall, _ = precision_recall_curve(target, column)
        f1 = np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12))
        values.append((average_precision_score(target, column), f1, roc_auc_score(target, column)))
    per_class = time.perf_counter() - began
    began = time.perf_counter()
    top1, top5 = [], []
    hits: list[dict] = [{} for _ in RANKS]
    for row, label in zip(scores, labels.tolist(), strict=True):
        best = sorted(range(classes), key=row.__getitem__, reverse=True)[:5]
        top1.append(best[0] == label)
        top5.append(label in best)
        for depth in range(len(RANKS)):
            taxon = ranks[label][: depth + 1]
            hits[depth].setdefault(taxon, []).append(ranks[best[0]][: depth + 1] == taxon)
    per_file += time.perf_counter() - began
    found = dict(zip(("map", "f1_max", "roc_auc"), np.mean(values, axis=0).tolist(), strict=True))
    return {"per_file": per_file, "per_class": per_class,
            "found": {**found, "top1": float(np.mean(top1)), "top5": float(np.mean(top5))}}  # fmt: skip


def problem(files: int, classes: int, present: int, seed: int) -> tuple[np.ndarray, np.ndarray, list]:
    generator = np.random.default_rng(seed)
    chosen = np.sort(generator.choice(classes, present, replace=False))
    labels = np.concatenate([chosen, chosen[generator.integers(0, present, files - present)]])
    ranks = [tuple(f"{rank[:2]}{c // (3 ** (6 - d))}" for d, rank in enumerate(RANKS)) for c in range(classes)]
    return generator.permutation(labels), chosen, ranks


def figures(quick: bool = False) -> dict[str, Any]:
    """Seconds, ratio and memory; the authors' part extrapolated as the module says."""
    share = 20 if quick else 1
    files, classes, present = FILES // share, CLASSES, PRESENT // (4 if quick else 1)
    small_files, small_present = (200, 20) if quick else (600, 60)
    labels, chosen, ranks = problem(small_files, classes, small_present, 1)
    theirs = authors(small_files, classes, labels, chosen, ranks, 1)
    same = ours(small_files, classes, labels, chosen, ranks, 1)
    worst = max(abs(same["found"][key] - value) for key, value in theirs["found"].items())
    in_files = files / small_files
    in_classes = (files * np.log(files)) / (small_files * np.log(small_files)) * present / small_present
    extrapolated = theirs["per_file"] * in_files + theirs["per_class"] * in_classes

    labels, chosen, ranks = problem(files, classes, present, 2)
    mine = ours(files, classes, labels, chosen, ranks, 2)
    began = time.perf_counter()
    columns = np.searchsorted(chosen, labels)
    resampled = bootstrap(mine["scores"], columns, classes=np.arange(present), resamples=20 if quick else 200)
    intervals = time.perf_counter() - began
    seconds = mine["pooling"] + mine["metrics"]
    return {
        "files": files, "windows": files * WINDOWS, "classes": classes, "present": present,
        "seconds_pooling": mine["pooling"], "seconds_metrics": mine["metrics"], "seconds": seconds,
        "seconds_intervals": intervals, "resamples": 20 if quick else 200,
        "map": mine["found"]["map"],
        "map_interval": list(centred_interval(resampled.metrics["map"], mine["found"]["map"])),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "authors_measured": {"files": small_files, "present": small_present,
                             "seconds_per_file": theirs["per_file"], "seconds_per_class": theirs["per_class"]},
        "authors_extrapolated_seconds": extrapolated, "ratio": extrapolated / seconds,
        "largest_difference_on_the_same_logits": worst,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    for key, value in figures(parser.parse_args().quick).items():
        print(f"{key:40s} {value:,.4g}" if isinstance(value, float) else f"{key:40s} {value}")


if __name__ == "__main__":
    main()
