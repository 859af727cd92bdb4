"""Crops chosen by energy against uniform ones: how often is the species to be told from a 3 s crop?

    python -m benchmarks.crop_choice FOLDER

FOLDER holds an archive in the dataset's layout (train, val). Each crop is described by mean, deviation and maximum of
its log-mel bands; a logistic regression is fitted to five crops of each training recording and asked for the species
of five crops of each validation recording longer than 6 s. Train and validation crops are chosen each way; accuracy
of single crops, mean of `SEEDS` seeds with the standard error. It is a proxy: a label-bearing crop is one from which
the label can be told.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_inatsounds.audio import probe
from hf_inatsounds.augmentation import WaveformAugmentation
from hf_inatsounds.data.loading import open_dataset
from hf_inatsounds.errors import AudioError
from hf_inatsounds.frontends import AstFrontend
from hf_inatsounds.training.crops import CropCollator

SEEDS, CROPS, SIZE_S, LONG_S = 5, 5, 3.0, 6.0


def rows_of_split(folder: str, split: str, shortest_s: float) -> list[dict[str, Any]]:
    import datasets

    found = []
    stream = open_dataset("all", split, source=folder, streaming=True)
    for row in stream.cast_column("audio", datasets.Audio(decode=False)):
        try:
            if probe(row["audio"]).duration_s >= shortest_s:
                found.append(row)
        except AudioError:
            continue  # not what is measured here
    return found


def described(rows: list[dict[str, Any]], choice: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, features) of crops and their labels (N,)."""
    frontend = AstFrontend(max_length=298)
    collate = CropCollator(SIZE_S, 16_000, WaveformAugmentation(), 400, seed, CROPS, choice)
    features, labels = [], []
    for i in range(0, len(rows), 8):
        batch = collate([{**row, "epoch": 0, "digest": False} for row in rows[i : i + 8]])
        with torch.inference_mode():
            mel = frontend(batch["waveforms"], batch["lengths"])
        features.append(torch.cat([mel.mean(1), mel.std(1), mel.amax(1)], 1).numpy())
        labels.append(batch["labels"].numpy())
    return np.concatenate(features), np.concatenate(labels)


def figures(quick: bool = False, folder: str | None = None) -> dict[str, Any]:
    """Accuracy of single crops, by how train and validation crops were chosen."""
    if folder is None:
        return {}
    torch.set_num_threads(1)
    train, val = rows_of_split(folder, "train", 0.1), rows_of_split(folder, "validation", LONG_S)
    found: dict[str, list[float]] = {}
    for seed in range(1 if quick else SEEDS):
        crops = {
            (name, choice): described(rows, choice, seed)
            for (name, rows), choice in itertools.product((("train", train), ("val", val)), ("uniform", "energy"))
        }
        for trained in ("uniform", "energy"):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.03, max_iter=300))
            model.fit(*crops["train", trained])
            for asked in ("uniform", "energy"):
                key = f"trained on {trained}, asked about {asked}: accuracy"
                found.setdefault(key, []).append(float(model.score(*crops["val", asked])))
    summary: dict[str, Any] = {"validation recordings of 6 s and more": len(val)}
    for key, values in found.items():
        summary[key] = statistics.mean(values)
        if len(values) > 1:
            summary[f"{key}, standard error"] = statistics.stdev(values) / len(values) ** 0.5
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--quick", action="store_true", help="one seed")
    arguments = parser.parse_args()
    print(json.dumps(figures(arguments.quick, arguments.folder), indent=2))


if __name__ == "__main__":
    main()
