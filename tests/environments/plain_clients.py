"""A client's whole pass over a source and over its mirror, under whatever ``datasets`` and decoder are installed.

    python plain_clients.py SOURCE INDEX MIRROR README

Prints one JSON line: versions, whether the column decodes, and rows and defects of each pass.
"""

import functools
import importlib.metadata
import json
import re
import sys
from pathlib import Path

import datasets
import numpy as np

import hf_inatsounds
from hf_inatsounds.audio import read_window
from hf_inatsounds.data.audio_column import column_decodes

datasets.disable_progress_bars()
RATE = 16_000


def samples(audio):
    """What a decoded column holds, as transformers' example asks for it."""
    array = np.asarray(audio["array"])
    assert len(array)
    assert np.isfinite(array).all()
    return array


def walk(rows):
    """One pass: rows, and how many of each defect; windows are the same however they are handed out."""
    counts = {}
    for row in rows:
        name = row.get("defect") or "whole"
        counts[name] = counts.get(name, 0) + 1
        audio = row["audio"]
        window = read_window(audio, 0.25, 0.5, RATE)
        if not isinstance(audio, dict) or "array" in audio:
            array = samples(audio)
            again = read_window({"array": array, "sampling_rate": audio["sampling_rate"]}, 0.25, 0.5, RATE)
            assert abs(len(again) - len(window)) <= 1, (row["file_name"], len(again), len(window))
    return counts


def subsampled(rows, extractor):
    """transformers' run_audio_classification: the column at the model's rate, random crops, its feature extractor."""
    generator = np.random.default_rng(0)
    rows = rows.cast_column("audio", datasets.Audio(sampling_rate=RATE))

    def transform(batch):
        crops = []
        for audio in batch["audio"]:
            array = samples(audio)
            start = int(generator.integers(0, max(len(array) - RATE, 0) + 1))
            crops.append(array[start : start + RATE])
        inputs = extractor(crops, sampling_rate=RATE, padding=True)
        return {"input_values": inputs["input_values"], "labels": list(batch["label"])}

    rows.set_transform(transform)
    n = 0
    for first in range(0, len(rows), 4):
        batch = rows[first : first + 4]
        assert np.isfinite(np.concatenate([np.ravel(one) for one in batch["input_values"]])).all()
        n += len(batch["labels"])
    return n


def readme_examples(readme, source, index, mirror, decodes):
    """The Python examples of the README that load data, as they stand but for where the data is."""
    text = Path(readme).read_text(encoding="utf-8")
    hf_inatsounds.load_dataset = functools.partial(hf_inatsounds.load_dataset, source=source)
    n = 0
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "pipeline" in block:
            continue  # wants a run of the user's own
        names = {"load_dataset": hf_inatsounds.load_dataset}
        for ours, here in (("me/inatsounds", mirror), ("index", index), ("reptilia", "amphibia")):
            block = block.replace(f'"{ours}"', repr(here))
        exec(block, names)
        ours = names["load_dataset"] is hf_inatsounds.load_dataset
        if "rows" in names and (ours or decodes):  # plain datasets asks for torchcodec, or for decode=False
            next(iter(names["rows"]))
        n += 1
    return n


def main(source, index, mirror, readme):
    decodes = column_decodes()
    found = {"datasets": datasets.__version__, "decodes": decodes, "passes": {}}
    for name in ("torchcodec", "transformers"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    for split in ("train", "validation"):
        passes = {
            "ours, streaming": hf_inatsounds.load_dataset("all", split, source=source),
            "ours, by index": hf_inatsounds.load_dataset("all", split, source=source, index=index),
            "ours, prepared": hf_inatsounds.load_dataset("all", split, source=source, streaming=False),
        }
        plain = datasets.load_dataset(mirror, "all", split=split)
        streamed = datasets.load_dataset(mirror, "all", split=split, streaming=True)
        encoded = datasets.Audio(sampling_rate=22_050, decode=False)
        for name, rows in (("mirror, prepared", plain), ("mirror, streaming", streamed)):
            passes[name] = rows if decodes else rows.cast_column("audio", encoded)
        if decodes:
            passes |= {
                f"{name}, at {RATE} Hz": rows.cast_column("audio", datasets.Audio(sampling_rate=RATE))
                for name, rows in passes.items()
            }
        for name, rows in passes.items():
            found["passes"][f"{split}: {name}"] = walk(rows)
        if decodes and found["transformers"]:
            from transformers import Wav2Vec2FeatureExtractor

            extractor = Wav2Vec2FeatureExtractor(sampling_rate=RATE)
            prepared = hf_inatsounds.load_dataset("all", split, source=source, streaming=False)
            found["passes"][f"{split}: ours, transformers' example"] = subsampled(prepared, extractor)
            found["passes"][f"{split}: mirror, transformers' example"] = subsampled(plain, extractor)
    found["readme_examples"] = readme_examples(readme, source, index, mirror, decodes)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
