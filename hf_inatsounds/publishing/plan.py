"""What a mirror consists of: which recording goes into which shard at which place, from the annotations alone."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.errors import PublishError
from hf_inatsounds.fingerprints import fingerprint, table_fingerprint
from hf_inatsounds.schema import SAMPLING_RATE_HZ, SPLITS

AUDIO_FORMATS = ("flac", "wav")
SHARD_BYTES = 500_000_000
"""Aimed-at size of a shard: what the Hub's documentation recommends for Parquet, about 1,000 recordings."""

EXPECTED_BYTES_PER_S = {"flac": SAMPLING_RATE_HZ, "wav": 2 * SAMPLING_RATE_HZ}
"""16-bit samples; FLAC took 0.46 of that on 277 real recordings of animals, 0.5 leaves some room."""

_UNKNOWN_DURATION_S = 18.5
"""Mean of the test split, for a recording whose annotation has no duration."""


@dataclass(frozen=True)
class MirrorSettings:
    """What decides on a mirror's bytes, besides the source.

    Args:
        configs: dataset names whose recordings are in it: "all", supercategories, "evaluation", "annotations".
        splits: the splits in it.
        audio_format: "flac", lossless, or "wav", the original bytes.
        seed: of the shuffle.
        shard_bytes: aimed-at size of a shard.
        select: which recordings, as :attr:`Selection.text`; empty for all.
    """

    configs: tuple[str, ...] = ("all",)
    splits: tuple[str, ...] = SPLITS
    audio_format: str = "flac"
    seed: int = 0
    shard_bytes: int = SHARD_BYTES
    select: str = ""

    def __post_init__(self) -> None:
        if self.audio_format not in AUDIO_FORMATS:
            raise PublishError(
                "unknown audio format",
                where="format",
                found=repr(self.audio_format),
                expected=" or ".join(AUDIO_FORMATS),
            )
        if not self.configs or not self.splits or self.shard_bytes < 1:
            raise ValueError("configs and splits must not be empty, shard_bytes must be positive")


@dataclass(frozen=True)
class Shard:
    """One Parquet file: a part of the recordings of one supercategory, evaluated classes or the others.

    Attributes:
        path: below the mirror's root.
        split: its split.
        group: "aves-evaluation", "aves-other", …
        rows: indices into the split's annotation table, in the shard's order.
    """

    path: str
    split: str
    group: str
    rows: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Plan:
    """All of a mirror's shards, and the data files of each configuration.

    Attributes:
        settings: what was asked for.
        shards: ordered by split, then number.
        data_files: configuration → split → glob; "all" or what stands for it comes first.
        facts: what the bytes depend on, each as a digest under the name by which a message tells that it has changed.
    """

    settings: MirrorSettings
    shards: tuple[Shard, ...]
    data_files: Mapping[str, Mapping[str, str]]
    facts: Mapping[str, str]

    @property
    def fingerprint(self) -> str:
        """Tells apart two mirrors whose bytes differ, 32 hexadecimal digits."""
        return _of(self.facts)


def make_plan(
    annotations: Mapping[str, Annotations],
    settings: MirrorSettings,
    *,
    audio: bool = True,
    state: Mapping[str, Any] | None = None,
) -> Plan:
    """Divide the splits' recordings into shards.

    Args:
        annotations: split → its annotations.
        settings: what is asked for.
        audio: whether there are shards at all.
        state: what else the bytes depend on: the recordings, the code, versions of libraries.

    Raises:
        SourceError: if a configuration's name is unknown.
    """
    facts = {
        "settings": [asdict(settings), audio],
        "annotations": {split: table_fingerprint(annotations[split].table) for split in settings.splits},
        "classes": [asdict(taxon) for taxon in annotations[settings.splits[0]].label_space.taxa],
        **(state or {}),
    }
    digests = {name: fingerprint({name: value}) for name, value in facts.items()}
    folder = set_folder(_of(digests))
    shards: list[Shard] = []
    for split in settings.splits:
        rows = _selected(annotations[split], settings.configs) if audio else []
        shards += _split_shards(annotations[split].table, split, rows, settings, folder)
    return Plan(settings, tuple(shards), _data_files(annotations, settings, shards, folder), digests)


def _of(facts: Mapping[str, str]) -> str:
    return fingerprint(facts)[:32]


def set_folder(name: str) -> str:
    """Where the shards of a fingerprint are: in a folder of their own, so that no glob of another card finds one.

    >>> set_folder("0123456789abcdef0123456789abcdef")
    'data/0123456789abcdef'
    """
    return f"data/{name[:16]}"


def shuffled(recording_ids: list[int], *, seed: int, split: str) -> list[int]:
    """Positions of ``recording_ids`` in the order of a keyed hash of each: a shuffle that no other recording affects.

    >>> shuffled([10, 11, 12, 13], seed=0, split="train")
    [1, 3, 2, 0]
    """

    def key(position: int) -> tuple[bytes, int]:
        text = f"{seed}/{split}/{recording_ids[position]}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest(), position

    return sorted(range(len(recording_ids)), key=key)


def slug(supercategory: str) -> str:
    """A supercategory as it stands in file names: lower case, no hyphen, so that globs tell groups apart.

    >>> slug("Aves"), slug("Ray-finned Fishes")
    ('aves', 'ray_finned_fishes')
    """
    return re.sub(r"[^a-z0-9]+", "_", supercategory.lower())


def _selected(annotations: Annotations, configs: tuple[str, ...]) -> list[int]:
    """Indices into the table of the rows that any of the configurations has, ascending."""
    position = {key: i for i, key in enumerate(annotations.table["recording_id"].to_pylist())}
    tables = [annotations.select(name) for name in configs if name != "annotations"]
    return sorted({position[key] for table in tables for key in table["recording_id"].to_pylist()})


def _split_shards(table: pa.Table, split: str, rows: list[int], settings: MirrorSettings, folder: str) -> list[Shard]:
    ids, supercategories, evaluation, durations = (
        table[name].to_pylist() for name in ("recording_id", "supercategory", "evaluation", "duration_s")
    )
    groups: dict[str, list[int]] = {}
    for position in shuffled([ids[row] for row in rows], seed=settings.seed, split=split):
        row = rows[position]
        part = "evaluation" if evaluation[row] else "other"
        groups.setdefault(f"{slug(supercategories[row])}-{part}", []).append(row)
    placed: list[tuple[float, str, tuple[int, ...]]] = []
    for group, members in groups.items():
        seconds = sum(_UNKNOWN_DURATION_S if durations[row] is None else durations[row] for row in members)
        expected = seconds * EXPECTED_BYTES_PER_S[settings.audio_format] / settings.shard_bytes
        n = min(max(math.ceil(expected), 1), len(members))
        cuts = [i * len(members) // n for i in range(n + 1)]
        # spread each group's shards evenly over the split's numbers, so that reading "all" in order mixes groups
        placed += [((i + 0.5) / n, group, tuple(members[cuts[i] : cuts[i + 1]])) for i in range(n)]
    placed.sort(key=lambda one: one[:2])
    return [
        Shard(f"{folder}/{split}-{i:05d}-of-{len(placed):05d}-{group}.parquet", split, group, members)
        for i, (_, group, members) in enumerate(placed)
    ]


def _data_files(
    annotations: Mapping[str, Annotations], settings: MirrorSettings, shards: list[Shard], folder: str
) -> dict[str, dict[str, str]]:
    """Only configurations that are whole in this mirror, and only splits in which they have a shard."""
    names = [name for name in settings.configs if name != "annotations"]
    if "all" in names:
        taxa = annotations[settings.splits[0]].label_space.taxa
        names = ["all", *sorted({taxon.supercategory.lower() for taxon in taxa}), "evaluation"]
    globs = {name: f"*-{slug(name)}-*" for name in names} | {"all": "*", "evaluation": "*-evaluation"}
    found: dict[str, dict[str, str]] = {}
    for name in names:
        for split in settings.splits:
            groups = {shard.group for shard in shards if shard.split == split}
            if any(_in_config(group, name) for group in groups):
                found.setdefault(name, {})[split] = f"{folder}/{split}-{globs[name]}.parquet"
    found["annotations"] = {split: f"annotations/{split}.parquet" for split in settings.splits}
    return found


def _in_config(group: str, name: str) -> bool:
    supercategory, part = group.rsplit("-", 1)
    return name == "all" or (part == "evaluation" if name == "evaluation" else supercategory == slug(name))


def describe(settings: MirrorSettings) -> dict[str, Any]:
    """The settings as the manifest holds them."""
    return {**asdict(settings), "configs": list(settings.configs), "splits": list(settings.splits)}
