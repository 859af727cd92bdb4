"""A synthetic iNatSounds of the official size and layout, with recordings of a tenth of a second.

    python -m benchmarks.synthetic_archive OUT                 # 232,237 recordings, 5,569 species: 1.8 GB of WAV
    python -m benchmarks.synthetic_archive OUT --rows 0.02     # a fiftieth of the recordings, all species

What is exact at full size: species and recordings of each supercategory in each split, 1,951 singletons in train, at
most 1,000 recordings of a species in train and 100 in validation and test, 5 at least in test; ids, folders and the
order of members; all categories in all three files; 341 byte-identical duplicates in test, and some empty recordings.
What is drawn: names, places (a quarter at a place where the species was recorded before, as observers do), dates,
licences, and right holders in several scripts. Each species has a tone of its own, so that a model can learn
something. The same arguments give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import tarfile
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from isal import igzip

from benchmarks.synthetic_species import Species, draw_species, thinned
from hf_inatsounds.schema import RANKS, SAMPLING_RATE_HZ

Array = np.ndarray[Any, np.dtype[Any]]

STEMS = ("train", "val", "test")
SECONDS = (0.1, 0.25)
DUPLICATES, EMPTY = 341, 3
OBSERVERS = 12_000
MTIME = 1_727_740_800

LICENSES = tuple(
    (number, f"CC{name}", f"http://creativecommons.org/{path}/")
    for number, (name, path) in enumerate(
        (
            (" BY-NC-SA 4.0", "licenses/by-nc-sa/4.0"), (" BY-NC 4.0", "licenses/by-nc/4.0"),
            (" BY-NC-ND 4.0", "licenses/by-nc-nd/4.0"), (" BY 4.0", "licenses/by/4.0"),
            (" BY-SA 4.0", "licenses/by-sa/4.0"), (" BY-ND 4.0", "licenses/by-nd/4.0"),
            ("0 1.0", "publicdomain/zero/1.0"),
        ),
        start=1,
    )
)  # fmt: skip
LICENSE_SHARES = (0.05, 0.7, 0.05, 0.1, 0.02, 0.01, 0.07)
FIRST = (
    "Ana", "Bob", "José", "Zoë", "Łukasz", "Иван", "美咲", "志明", "سارة", "Nguyễn", "Þóra", "Søren", "Mary-Kate",
    "O'Neil", "João", "María",
)  # fmt: skip
LAST = (
    "Smith", "Müller", "García", "山田", "陳", "Иванов", "Nguyễn", "الحسن", "Ångström", "Õunapuu", "van_der_Berg",
    "Silva", "Peña", "Brown", "Lee",
)  # fmt: skip


class Sounds:
    """Noise with a tone of the species in it, as 16-bit WAV."""

    def __init__(self, seed: int) -> None:
        self._noise = np.round(np.random.default_rng([seed, 7]).normal(0, 160, 1 << 20)).astype(np.int16)

    def wav(self, rng: np.random.Generator, label: int, n_labels: int, duration_s: float) -> bytes:
        """One recording; tones lie between 200 and 10,000 Hz."""
        n = int(duration_s * SAMPLING_RATE_HZ)
        start = int(rng.integers(len(self._noise) - n))
        step = np.float32(2 * math.pi * 200 * 50 ** (label / n_labels) / SAMPLING_RATE_HZ)
        tone = np.sin(np.arange(n, dtype=np.float32) * step) * np.float32(rng.uniform(100, 1500))
        samples = (self._noise[start : start + n] + tone.astype(np.int16)).astype("<i2").tobytes()
        return wav_header(len(samples)) + samples


def wav_header(n_bytes: int) -> bytes:
    """The 44 bytes before ``n_bytes`` of mono 16-bit samples."""
    rate = SAMPLING_RATE_HZ.to_bytes(4, "little") + (2 * SAMPLING_RATE_HZ).to_bytes(4, "little")
    head = b"RIFF" + (36 + n_bytes).to_bytes(4, "little") + b"WAVEfmt \x10\0\0\0\x01\0\x01\0" + rate
    return head + b"\x02\0\x10\0data" + n_bytes.to_bytes(4, "little")


@dataclass
class Split:
    """One split as it is made, recording by recording.

    Attributes:
        stem: train, val or test.
        rng: of all draws.
        sounds: makes the recordings.
        taxa: all species.
        first_id: of its first recording.
        rows: share of the official number of recordings.
        observers: names of right holders; a few have most recordings.
        audio: entries of the JSON.
        annotations: entries of the JSON.
    """

    stem: str
    rng: np.random.Generator
    sounds: Sounds
    taxa: list[Species]
    first_id: int
    rows: float
    observers: list[str]
    audio: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def write(self, folder: Path, categories: list[dict[str, Any]]) -> None:
        """The two archives of the split."""
        n = sum(one.counts[self.stem] for one in self.taxa)
        chosen = round(DUPLICATES * self.rows) if self.stem == "test" else 0
        duplicates = set(self.rng.choice(n, min(chosen, n), replace=False).tolist())
        empty = set(self.rng.choice(n, min(EMPTY, n), replace=False).tolist())
        weights = 1 / (np.arange(len(self.observers)) + 10.0)
        who = self.rng.choice(len(self.observers), n, p=weights / weights.sum())
        previous = b""
        with (
            igzip.IGzipFile(str(folder / f"{self.stem}.tar.gz"), "wb", compresslevel=1, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT, bufsize=1 << 20) as tar,
        ):
            for label, one in enumerate(self.taxa):
                places: list[tuple[float, float]] = []
                for _ in range(one.counts[self.stem]):
                    number = len(self.audio)
                    if number in empty:
                        content = wav_header(0)
                    elif number in duplicates and previous:
                        content = previous
                    else:
                        content = self.sounds.wav(self.rng, label, len(self.taxa), self.rng.uniform(*SECONDS))
                        previous = content
                    name = f"{self.stem}/{categories[label]['audio_dir_name']}/{self._uuid()}.wav"
                    places.append(self._place(one, places))
                    self._annotate(name, label, content, places[-1], self.observers[who[number]])
                    add(tar, name, content)
        document = {
            "info": {
                "year": 2024, "version": "synthetic", "contributor": "", "url": "", "date_created": "2024-09-30",
                "description": "synthetic recordings at iNatSounds' official size",
            },
            "audio": self.audio, "categories": categories, "annotations": self.annotations,
            "licenses": [dict(zip(("id", "name", "url"), one, strict=True)) for one in LICENSES],
        }  # fmt: skip
        with (
            igzip.IGzipFile(str(folder / f"{self.stem}.json.tar.gz"), "wb", compresslevel=1, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.GNU_FORMAT) as tar,
        ):
            add(tar, f"{self.stem}.json", json.dumps(document).encode())

    def _uuid(self) -> uuid.UUID:
        return uuid.UUID(bytes=self.rng.bytes(16), version=4)

    def _place(self, one: Species, before: list[tuple[float, float]]) -> tuple[float, float]:
        """Latitude and longitude; a quarter of the time where the species was recorded before."""
        if before and self.rng.random() < 0.25:
            return before[self.rng.integers(len(before))]
        latitude = float(np.clip(self.rng.normal(one.place[0], one.spread), -89.9, 89.9))
        longitude = (float(self.rng.normal(one.place[1], 1.5 * one.spread)) + 180) % 360 - 180
        return round(latitude, 10), round(longitude, 10)

    def _annotate(self, name: str, label: int, content: bytes, place: tuple[float, float], holder: str) -> None:
        rng, audio_id = self.rng, self.first_id + len(self.audio)
        draw, known = rng.random(), rng.random() > 0.02
        uncertainty = None if draw < 0.15 else math.nan if draw < 0.17 else int(rng.lognormal(5, 2))
        date = time.gmtime(int(rng.integers(1_262_304_000, 1_704_067_200)))
        self.audio.append({
            "id": audio_id, "file_name": name, "duration": round((len(content) - 44) / 2 / SAMPLING_RATE_HZ, 6),
            "license": int(rng.choice(len(LICENSES), p=LICENSE_SHARES)) + 1, "rights_holder": holder,
            "date": time.strftime("%Y-%m-%d %H:%M:%S+00:00", date),
            "latitude": place[0] if known else None, "longitude": place[1] if known else None,
            "location_uncertainty": uncertainty,
        })  # fmt: skip
        self.annotations.append({"id": audio_id, "audio_id": audio_id, "category_id": label})


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A plain file, with a date that is always the same."""
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), MTIME, 0o644
    tar.addfile(member, io.BytesIO(content))


def write_archives(folder: Path, *, rows: float = 1.0, seed: int = 0) -> dict[str, int]:
    """The six archives.

    Args:
        folder: is made.
        rows: share of the official number of recordings, in (0, 1]; categories are always all.
        seed: of all draws.

    Returns:
        Recordings of each split, by its stem.
    """
    if not 0 < rows <= 1:
        raise ValueError(f"rows must be in (0, 1], got {rows}")
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1])
    taxa = thinned(draw_species(rng), rows)
    categories = [category(number, one) for number, one in enumerate(taxa)]
    observers = [f"{rng.choice(FIRST)} {rng.choice(LAST)} {k}" if k % 3 else f"user_{k}" for k in range(OBSERVERS)]
    template = Split("", rng, Sounds(seed), taxa, 0, rows, observers)
    made: dict[str, int] = {}
    for number, stem in enumerate(STEMS):
        split = replace(
            template, stem=stem, rng=np.random.default_rng([seed, 2, number]), first_id=sum(made.values()), audio=[],
            annotations=[],
        )  # fmt: skip
        split.write(folder, categories)
        made[stem] = len(split.audio)
    return made


def category(number: int, one: Species) -> dict[str, Any]:
    """A species as the JSON has it."""
    return {
        "id": number, "name": " ".join(one.lineage[-2:]), "common_name": one.common_name,
        "supercategory": one.supercategory, **dict(zip(RANKS, one.lineage, strict=True)),
        "audio_dir_name": f"{number:05d}_" + "_".join(one.lineage), "evaluation": int(one.evaluated),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=float, default=1.0, help="share of the official number of recordings")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for stem, n in write_archives(arguments.out, rows=arguments.rows, seed=arguments.seed).items():
        print(f"{stem}: {n:,} recordings")


if __name__ == "__main__":
    main()
