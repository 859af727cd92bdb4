"""AnuraSet: 3 s samples of tropical soundscapes, 42 species of frogs, any number per sample.

Layout: ``metadata.csv`` (``sample_name``, ``fname``, ``min_t``, ``max_t``, ``site``, ``date``, ``species_number``,
``subset``, then a column of 0 and 1 a species) and ``audio/``, with or without a folder a site.

Source: soundclim/anuraset.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_inatsounds.downstream.annotation_tables import read_csv
from hf_inatsounds.downstream.clips import Clip, Fold, Suite, Task, duration_s
from hf_inatsounds.downstream.policies import ANURASET
from hf_inatsounds.downstream.recording_files import audio_files
from hf_inatsounds.errors import SuiteError

SAMPLE_S = 3.0
N_SPECIES = 42
ABOUT = ("sample_name", "fname", "min_t", "max_t", "site", "date", "species_number", "subset")


def load_anuraset(folder: Path, only: Sequence[str] = ()) -> Suite:
    """AnuraSet, in its own split into train and test."""
    table = folder / "metadata.csv"
    rows = read_csv(table, ["sample_name", "fname", "subset"])
    columns = list(rows[0])
    classes = tuple(name for name in columns[columns.index("subset") + 1 :] if name not in ABOUT)
    if not classes:
        raise SuiteError("no species", where=table, found=", ".join(columns), expected="columns after 'subset'")
    audio = {path.stem: path for path in audio_files(folder / "audio")}
    clips = []
    for row in rows:
        path = audio.get(Path(row["sample_name"]).stem if "." in row["sample_name"] else row["sample_name"])
        if path is None:
            raise SuiteError("missing recording", where=row.where, found=f"no {row['sample_name']!r} below audio/")
        if row["subset"] not in ("train", "test"):
            raise SuiteError("unknown subset", where=row.where, found=repr(row["subset"]), expected="train or test")
        labels = tuple(i for i, name in enumerate(classes) if _is_one(row[name], f"{row.where}, {name}"))
        end_s = min(SAMPLE_S, duration_s(str(path)))
        clips.append(Clip(str(path), 0.0, end_s, labels, row["subset"], row["fname"]))
    notes = () if len(classes) == N_SPECIES else (f"{len(classes)} species; the published set has {N_SPECIES}",)
    fold = Fold("test", ("train",), ("test",))
    # its own split puts samples of one recording on both sides, so that only the samples themselves are checked
    return Suite(
        "anuraset", (Task("anuraset", classes, tuple(clips), (fold,), ANURASET, disjoint="clip", notes=notes),)
    )


def _is_one(text: str, where: str) -> bool:
    if text.strip() not in ("0", "1", "0.0", "1.0"):
        raise SuiteError("neither 0 nor 1", where=where, found=repr(text))
    return text.strip() in ("1", "1.0")
