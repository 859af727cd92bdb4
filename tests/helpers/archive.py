"""Small sources in the official layout, with whatever a test plants in them."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

RATE = 22_050
SPECIES = (("Amphibia", "Rana", "una", 500.0), ("Aves", "Turdus", "duo", 2_000.0), ("Aves", "Turdus", "tres", 5_000.0))
COUNTS = {"train": (5, 4, 3), "val": (3, 3, 0), "test": (3, 3, 0)}


def tone(frequency_hz: float, duration_s: float, seed: int) -> np.ndarray:
    """A pulsed tone in noise: classes that a small model tells apart within seconds."""
    generator = np.random.default_rng(seed)
    t = np.arange(round(duration_s * RATE)) / RATE
    pulses = (np.sin(2 * np.pi * 4 * t) > 0) * np.sin(2 * np.pi * frequency_hz * t)
    return 0.4 * pulses + 0.02 * generator.standard_normal(len(t))


def wav(samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16", form: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    sf.write(buffer, samples, rate, subtype=subtype, format=form)
    return buffer.getvalue()


def category(index: int) -> dict[str, Any]:
    supercategory, genus, epithet, _ = SPECIES[index]
    ranks = ("Animalia", "Chordata", supercategory, f"{supercategory}ales", f"{genus}idae", genus, epithet)
    names = ("kingdom", "phylum", "class", "order", "family", "genus", "specific_epithet")
    return {
        "id": index,
        "name": f"{genus} {epithet}",
        "common_name": "" if index == 2 else f"{epithet} animal",
        "supercategory": supercategory,
        **dict(zip(names, ranks, strict=True)),
        "audio_dir_name": f"{index:05d}_" + "_".join(ranks),
        "evaluation": int(index != 2),
    }


def document(stem: str, first_id: int = 0) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The annotation document of a split, and its recordings by file name."""
    audio, annotations, files = [], [], {}
    for index, count in enumerate(COUNTS[stem]):
        for number in range(count):
            audio_id = first_id + len(audio)
            duration_s = (0.6, 1.5, 2.4)[number % 3]
            name = f"{stem}/{category(index)['audio_dir_name']}/{audio_id:08d}-0000.wav"
            files[name] = wav(tone(SPECIES[index][3], duration_s, audio_id))
            audio.append(
                {
                    "id": audio_id, "duration": duration_s, "file_name": name, "license": 1,
                    "rights_holder": "somebody",
                    "date": "2020-05-01 05:15:00+00:00", "latitude": 10.0 + index, "longitude": -20.0,
                    "location_uncertainty": [100, None, float("nan")][number % 3],
                }
            )  # fmt: skip
            annotations.append({"id": audio_id, "audio_id": audio_id, "category_id": index})
    made = {
        "info": {"version": "test", "description": "tones in the layout of iNatSounds"},
        "audio": audio,
        "categories": [category(index) for index in range(len(SPECIES))],
        "annotations": annotations,
        "licenses": [{"id": 1, "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"}],
    }
    return made, files


def pack(path: Path, files: dict[str, bytes] | list[tuple[str, bytes]], level: int = 1) -> None:
    with (
        gzip.GzipFile(path, "wb", compresslevel=level, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for name, content in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def write_source(
    folder: Path,
    *,
    change: Callable[[str, dict[str, Any], dict[str, bytes]], None] | None = None,
    unpacked: bool = False,
) -> Path:
    """A source in ``folder``; ``change(stem, document, files)`` may spoil it first."""
    first = 0
    for stem in COUNTS:
        made, files = document(stem, first)
        first += len(made["audio"])
        if change is not None:
            change(stem, made, files)
        if unpacked:
            (folder / f"{stem}.json").write_text(json.dumps(made))
            for name, content in files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
        else:
            pack(folder / f"{stem}.tar.gz", files)
            pack(folder / f"{stem}.json.tar.gz", {f"{stem}.json": json.dumps(made).encode()})
    return folder
