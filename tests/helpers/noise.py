"""Archives large enough for many seek points, quickly: class-ordered recordings of noise, which hardly compresses."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

RATE = 22_050
SUPERCATEGORIES = ("Amphibia", "Aves", "Insecta", "Mammalia", "Reptilia")


BASE = (np.random.default_rng(0).standard_normal(1 << 22, np.float32) * 900).astype("<i2")


def header(n_bytes: int) -> bytes:
    return struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 36 + n_bytes, b"WAVEfmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16, b"data", n_bytes
    )


def recording(seed: int, samples: int) -> bytes:
    """A stretch of noise of few enough bits that it compresses as field recordings do, by a quarter."""
    start = int(np.random.default_rng(seed).integers(0, BASE.size - samples))
    content = BASE[start : start + samples].tobytes()
    return header(len(content)) + content


def category(index: int, n: int) -> dict[str, Any]:
    supercategory = SUPERCATEGORIES[min(index * 4 // (n - 1), 4)]
    ranks = ("Animalia", "Chordata", supercategory, f"{supercategory}ales", "Noisidae", "Noisia", f"n{index:04d}")
    names = ("kingdom", "phylum", "class", "order", "family", "genus", "specific_epithet")
    return {
        "id": index, "name": f"Noisia n{index:04d}", "common_name": "", "supercategory": supercategory,
        **dict(zip(names, ranks, strict=True)), "audio_dir_name": f"{index:05d}_" + "_".join(ranks),
        "evaluation": index % 2,
    }  # fmt: skip


def write_noise(
    folder: Path,
    stem: str,
    recordings: int,
    *,
    species: int = 40,
    samples: tuple[int, int] = (20_000, 400_000),
    level: int = 1,
) -> Path:
    """``stem``'s archive and annotations in ``folder``; the last species, of its own supercategory, is the rarest."""
    generator = np.random.default_rng(recordings)
    lengths = generator.integers(*samples, recordings)
    share = np.sort(1 / np.arange(1, species) ** 0.5)
    counts = np.maximum((recordings * 0.99 * share / share.sum()).astype(int), 1)
    counts = np.append(counts, recordings - counts.sum())
    labels = np.repeat(np.arange(species), counts)
    categories = [category(i, species) for i in range(species)]
    names = [f"{stem}/{categories[label]['audio_dir_name']}/{i:08d}-noise.wav" for i, label in enumerate(labels)]
    made = {
        "info": {"description": "noise"},
        "audio": [
            {
                "id": i, "duration": int(lengths[i]) / RATE, "file_name": name, "license": 1, "rights_holder": "n",
                "date": "2020-01-01", "latitude": 1.0, "longitude": 2.0, "location_uncertainty": None,
            }
            for i, name in enumerate(names)
        ],
        "categories": categories,
        "annotations": [{"id": i, "audio_id": i, "category_id": int(label)} for i, label in enumerate(labels)],
        "licenses": [{"id": 1, "name": "CC0", "url": "https://example.org"}],
    }  # fmt: skip
    contents = ((name, recording(i, int(lengths[i]))) for i, name in enumerate(names))
    write_tar(folder / f"{stem}.tar.gz", contents, level)
    write_tar(folder / f"{stem}.json.tar.gz", [(f"{stem}.json", json.dumps(made).encode())], 6)
    return folder


def write_tar(path: Path, files: Any, level: int) -> None:
    with open(path, "wb") as file:
        packer = zlib.compressobj(level, wbits=31)
        for block in tar_blocks(files):
            file.write(packer.compress(block))
        file.write(packer.flush())


def tar_blocks(files: Any) -> Iterator[bytes]:
    import tarfile

    for name, content in files:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        yield member.tobuf(tarfile.GNU_FORMAT)
        yield content + bytes(-len(content) % 512)
    yield bytes(io.DEFAULT_BUFFER_SIZE)
