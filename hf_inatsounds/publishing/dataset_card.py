"""The mirror's ``README.md``: YAML that makes ``load_dataset`` work, terms, counts, and a datasheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pyarrow as pa

from hf_inatsounds.data.annotations import Annotations, annotated_hours
from hf_inatsounds.publishing.plan import Plan
from hf_inatsounds.reports.markdown import render_markdown
from hf_inatsounds.schema import CITATION, LICENSE, OFFICIAL_TITLE, TERMS

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_MEANINGS = {
    "all": "all recordings",
    "evaluation": "recordings of the species that validation and test hold",
    "annotations": "all rows, without audio",
}


def render_dataset_card(
    plan: Plan, annotations: Mapping[str, Annotations], records: list[dict[str, Any]], *, place: str, has_index: bool
) -> str:
    """The card's text.

    Args:
        plan: what the mirror consists of.
        annotations: split → its annotations.
        records: those of the shards, as :func:`hf_inatsounds.publishing.shards.write_shard` made them.
        place: what a reader gives ``load_dataset``: the repository, or a folder.
        has_index: whether seek indexes are in it.
    """
    tables = _rows(plan, annotations, records)
    space = annotations[plan.settings.splits[0]].label_space
    official = all(annotations[split].is_official for split in plan.settings.splits)
    counts = {key: count_reasons(records, key) for key in ("kept_as_original_bytes", "left_out")}
    return render_markdown(
        "hf_inatsounds.publishing",
        "dataset_card.md.jinja",
        metadata=metadata(plan, sum(table.num_rows for table in tables.values())),
        title=OFFICIAL_TITLE if official else _title(plan, annotations),
        official=official,
        has_audio=bool(plan.shards),
        has_index=has_index,
        place=place,
        configs=list(plan.data_files),
        data_files=plan.data_files,
        meaning=lambda name: _MEANINGS.get(name, f"recordings of {name.capitalize()}"),
        splits=plan.settings.splits,
        composition=composition(tables),
        licenses=_licenses(tables),
        recordings=sum(table.num_rows for table in tables.values()),
        species=len({label for table in tables.values() for label in table["label"].to_pylist()}),
        classes=len(space),
        hours=sum(annotated_hours(table["duration_s"].to_pylist()) for table in tables.values()),
        audio_format=plan.settings.audio_format,
        seed=plan.settings.seed,
        kept=sorted(counts["kept_as_original_bytes"].items()),
        left_out=sorted(counts["left_out"].items()),
        absent=sum(len(record["not_in_the_archive"]) for record in records),
        terms=TERMS,
        citation=CITATION,
    )


def _title(plan: Plan, annotations: Mapping[str, Annotations]) -> str:
    """What the first split that is not the official release's calls itself, as a heading."""
    name = next(annotations[split] for split in plan.settings.splits if not annotations[split].is_official).dataset
    return name[0].upper() + name[1:]


def render_waiting_card() -> str:
    """The card of a repository whose first mirror is on its way: loading it fails, instead of giving a part."""
    import yaml

    config = {"config_name": "all", "data_files": [{"split": "train", "path": "still-being-uploaded/*.parquet"}]}
    document = {"license": "other", "configs": [config]}
    text = "A mirror of iNatSounds is being uploaded here. Nothing can be loaded before it is whole.\n"
    return f"---\n{yaml.safe_dump(document, sort_keys=False)}---\n\n{text}"


def metadata(plan: Plan, n_rows: int) -> str:
    """The card's YAML. No features: each Parquet file has them, and 5,569 names would stand here a config."""
    import yaml

    document = {
        "pretty_name": "iNatSounds",
        **LICENSE,
        "task_categories": ["audio-classification"],
        "size_categories": [next((name for top, name in _SIZES if n_rows < top), "1M<n<10M")],
        "tags": ["bioacoustics", "biodiversity", "inatsounds"],
        "configs": [
            {
                "config_name": name,
                **({"default": True} if position == 0 else {}),
                "data_files": [{"split": split, "path": path} for split, path in by_split.items()],
            }
            for position, (name, by_split) in enumerate(plan.data_files.items())
        ],
    }
    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def composition(tables: Mapping[str, pa.Table]) -> list[dict[str, Any]]:
    """Species, recordings and annotated hours by supercategory and split, most recordings first."""
    found = []
    for split, table in tables.items():
        supercategories = np.array(table["supercategory"].to_pylist(), object)
        for name in sorted(set(supercategories.tolist())):
            part = table.filter(pa.array(supercategories == name))
            found.append(
                {
                    "supercategory": name,
                    "split": split,
                    "species": len(set(part["label"].to_pylist())),
                    "recordings": part.num_rows,
                    "hours": annotated_hours(part["duration_s"].to_pylist()),
                }
            )
    total = Counter({row["supercategory"]: 0 for row in found})
    for row in found:
        total[row["supercategory"]] += row["recordings"]
    return sorted(found, key=lambda row: (-total[row["supercategory"]], row["supercategory"]))


def count_reasons(records: list[dict[str, Any]], key: str) -> Counter[str]:
    """Reason → recordings, of the shards' ``kept_as_original_bytes`` or ``left_out``."""
    counts: Counter[str] = Counter()
    for record in records:
        counts.update({reason: len(names) for reason, names in record.get(key, {}).items()})
    return counts


def count_rows(
    plan: Plan, annotations: Mapping[str, Annotations], records: list[dict[str, Any]]
) -> dict[str, dict[str, int]]:
    """Configuration → split → rows of it: what a reader has to find, no more and no less."""
    found: dict[str, dict[str, int]] = {}
    for name, by_split in plan.data_files.items():
        for split, glob in by_split.items():
            rows = [record["rows"] for record in records if fnmatchcase(record["path"], glob)]
            found.setdefault(name, {})[split] = (
                annotations[split].table.num_rows if name == "annotations" else sum(rows)
            )
    return found


def _rows(plan: Plan, annotations: Mapping[str, Annotations], records: list[dict[str, Any]]) -> dict[str, pa.Table]:
    """Split → the rows that the mirror is of: those in its shards, or all where there are none."""
    if not plan.shards:
        return {split: annotations[split].table for split in plan.settings.splits}
    away = {name for record in records for name in record["not_in_the_archive"]}
    away |= {name for record in records for names in record["left_out"].values() for name in names}
    found = {}
    for split in plan.settings.splits:
        table = annotations[split].table
        names = table["file_name"].to_pylist()
        rows = [row for shard in plan.shards if shard.split == split for row in shard.rows if names[row] not in away]
        found[split] = table.take(pa.array(sorted(rows), pa.int64()))
    return found


def _licenses(tables: Mapping[str, pa.Table]) -> list[tuple[str, int]]:
    counts = Counter(name or "not stated" for table in tables.values() for name in table["license"].to_pylist())
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))
