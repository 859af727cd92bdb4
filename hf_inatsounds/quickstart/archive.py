"""The embedded archive's files: audio and annotation archives in the exact official layout."""

from __future__ import annotations

import gzip
import io
import json
import math
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from hf_inatsounds.files import replacing
from hf_inatsounds.quickstart.species import SPECIES, Species
from hf_inatsounds.quickstart.voices import recording
from hf_inatsounds.schema import RANKS, SAMPLING_RATE_HZ, STEMS

SHORTEST_S, LONGEST_S = 0.1, 60.0

_MTIME = 1_727_740_800  # 2024-10-01, so that the bytes depend on the seed alone
_NAMESPACE = uuid.UUID("5d0f8f39-94be-4c5c-a1a5-1c1a1b4d9f2e")
_LICENSES = (
    {"id": 1, "name": "CC BY-NC 4.0", "url": "https://creativecommons.org/licenses/by-nc/4.0/"},
    {"id": 2, "name": "CC BY 4.0", "url": "https://creativecommons.org/licenses/by/4.0/"},
    {"id": 3, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"},
)


@dataclass(frozen=True)
class _Planned:
    """One recording before it is synthesised."""

    audio_id: int
    category_id: int
    split: str
    file_name: str
    duration_s: float
    seed: tuple[int, int]


def make_archives(folder: str | Path, *, seed: int = 0) -> Path:
    """Write the embedded archive: three audio archives and three annotation archives, 16 MB in all.

    The same seed gives the same bytes. Archives are written whole or not at all.

    Args:
        folder: where to; made if need be.
        seed: decides on every recording, place and date.

    Returns:
        ``folder``.
    """
    folder = Path(folder)
    species = sorted(SPECIES, key=lambda one: "_".join(one.lineage))
    plan = _plan(species, seed)
    categories = [_category(index, one) for index, one in enumerate(species)]
    for split, stem in STEMS.items():
        mine = [planned for planned in plan if planned.split == split]
        with replacing(folder / f"{stem}.tar.gz") as path:
            _write_tar(path, ((one.file_name, _wav(one, species[one.category_id])) for one in mine))
        document = _annotations(mine, categories, species)
        with replacing(folder / f"{stem}.json.tar.gz") as path:
            _write_tar(path, [(f"{stem}.json", json.dumps(document).encode())])
    return folder


def _category(index: int, species: Species) -> dict[str, Any]:
    return {
        "id": index,
        "name": species.name,
        "common_name": species.common_name,
        "supercategory": species.supercategory,
        **dict(zip(RANKS, species.lineage, strict=True)),
        "audio_dir_name": _folder(index, species),
        "evaluation": int(species.heldout > 0),
    }


def _folder(index: int, species: Species) -> str:
    return f"{index:05d}_" + "_".join(species.lineage)


def _plan(species: list[Species], seed: int) -> list[_Planned]:
    """All recordings, ordered by split, then category, as the archives are."""
    generator = np.random.default_rng([seed, 1])
    plan: list[_Planned] = []
    for split, stem in STEMS.items():
        for category_id, one in enumerate(species):
            for number in range(one.train if split == "train" else one.heldout):
                audio_id = len(plan)
                file = f"{stem}/{_folder(category_id, one)}/{uuid.uuid5(_NAMESPACE, f'{seed}/{audio_id}')}.wav"
                duration_s = round(float(np.clip(generator.lognormal(1.1, 0.6), 0.8, 12.0)), 3)
                if number == 0 and one.train == max(other.train for other in species):
                    duration_s = LONGEST_S
                if number == 1 and category_id == 2 and split != "test":
                    duration_s = SHORTEST_S
                plan.append(_Planned(audio_id, category_id, split, file, duration_s, (seed, audio_id)))
    return plan


def _wav(planned: _Planned, species: Species) -> bytes:
    samples = recording(species.voice, planned.duration_s, np.random.default_rng([*planned.seed, 2]))
    buffer = io.BytesIO()
    sf.write(buffer, samples, SAMPLING_RATE_HZ, subtype="PCM_16", format="WAV")
    return buffer.getvalue()


def _annotations(plan: list[_Planned], categories: list[dict[str, Any]], species: list[Species]) -> dict[str, Any]:
    return {
        "info": {
            "year": 2024, "version": "embedded", "contributor": "", "url": "", "date_created": "2024-10-01",
            "description": "synthesised calls of invented species in the layout of iNatSounds",
        },
        "audio": [_audio(planned, species[planned.category_id]) for planned in plan],
        "categories": categories,
        "annotations": [
            {"id": one.audio_id, "audio_id": one.audio_id, "category_id": one.category_id} for one in plan
        ],
        "licenses": list(_LICENSES),
    }  # fmt: skip


def _audio(planned: _Planned, species: Species) -> dict[str, Any]:
    generator = np.random.default_rng([*planned.seed, 3])
    latitude, longitude = species.place
    # places scatter by some hundred kilometres; some uncertainties are null or NaN, as in the official JSON
    uncertainty = [int(generator.integers(5, 5_000)), None, math.nan][int(generator.choice(3, p=[0.9, 0.05, 0.05]))]
    place: tuple[float, float] | tuple[None, None] = (
        round(float(np.clip(generator.normal(latitude, 4.0), -89.9, 89.9)), 5),
        round(float(np.clip(generator.normal(longitude, 4.0), -179.9, 179.9)), 5),
    )
    if generator.random() < 0.03:
        place = (None, None)
    month, day, hour = (int(generator.integers(1, top)) for top in (13, 29, 24))
    return {
        "id": planned.audio_id,
        "duration": planned.duration_s,
        "file_name": planned.file_name,
        "license": int(generator.integers(1, 4)),
        "rights_holder": f"Observer {int(generator.integers(1, 40))}",
        "date": f"{int(generator.integers(2015, 2024))}-{month:02d}-{day:02d} {hour:02d}:15:00+00:00",
        "latitude": place[0],
        "longitude": place[1],
        "location_uncertainty": uncertainty,
    }


def _write_tar(path: Path, files: Iterator[tuple[str, bytes]] | list[tuple[str, bytes]]) -> None:
    with (
        open(path, "wb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), _MTIME, 0o644
            archive.addfile(member, io.BytesIO(content))
