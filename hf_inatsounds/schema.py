"""Columns, splits and official files of iNatSounds: what every other module takes its names from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

SAMPLING_RATE_HZ = 22_050
SPLITS = ("train", "validation", "test")
STEMS = {"train": "train", "validation": "val", "test": "test"}
"""Split → how the official files and folders are called."""

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "specific_epithet")
"""The seven taxonomic ranks, from the widest to the narrowest."""

SUPERCATEGORIES = ("aves", "insecta", "amphibia", "mammalia", "reptilia")
"""Those of the official release, most recordings first."""

OFFICIAL_URL = "https://ml-inat-competition-datasets.s3.amazonaws.com/sounds/2024"

TERMS = (
    "Non-commercial research and education only. You may not distribute the recordings; "
    "iNaturalist's terms apply, and each recording has its own licence and rights holder."
)
"""The dataset's terms in short. Source: README of visipedia/inat_sounds, 2024."""


CITATION = """@article{chasmai2025inaturalist,
  title = {The iNaturalist Sounds Dataset},
  author = {Chasmai, Mustafa and Shepard, Alexander and Maji, Subhransu and Van Horn, Grant},
  journal = {arXiv preprint arXiv:2506.00343},
  year = {2025},
}"""

LICENSE = {
    "license": "other",
    "license_name": "inatsounds-non-commercial",
    "license_link": "https://github.com/visipedia/inat_sounds",
}
"""As a card's metadata has it, of models and of mirrors."""

OFFICIAL_TITLE = "iNaturalist Sounds Dataset"

AUDIO_SUFFIXES = frozenset({
    ".wav", ".wave", ".bwf", ".w64", ".rf64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc",
    ".caf", ".au", ".snd", ".m4a", ".aac", ".wma", ".amr",
})  # fmt: skip
"""Of files that are recordings whatever stands beside them; the last four are not read, and named."""

NEAR_EMPTY_S = 0.1
"""Shorter than this holds no call: fewer than eight frames of 25 ms at a hop of 10 ms."""

DEFECT_KINDS = {
    "empty": "no bytes, or no samples",
    "unreadable": "not a recording that can be decoded",
    "truncated": "the header promises more than there is",
    "near-empty": f"shorter than {NEAR_EMPTY_S} s",
    "wrong-format": f"not {SAMPLING_RATE_HZ} Hz mono",
    "wrong-length": "not as long as annotated",
    "duplicate": "byte-identical to another recording",
}
"""Kind → what it means."""


def taxon_numbers(lineages: Iterable[Sequence[str]], depth: int) -> list[int]:
    """The taxon of each class at a rank, numbered from 0; taxa of one name in different families are two.

    Args:
        lineages: of the classes, each the names in the order of ``RANKS``.
        depth: of the rank, 1 for kingdom.

    >>> taxon_numbers([("Animalia", "Chordata"), ("Animalia", "Arthropoda")], 1)
    [0, 0]
    """
    numbers: dict[tuple[str, ...], int] = {}
    return [numbers.setdefault(tuple(lineage[:depth]), len(numbers)) for lineage in lineages]


@dataclass(frozen=True)
class OfficialFile:
    """One file of the official release.

    Attributes:
        name: file name below ``OFFICIAL_URL``.
        size: as the authors state it, rounded.
        md5: hex digest.
    """

    name: str
    size: str
    md5: str


OFFICIAL_FILES = (
    OfficialFile("train.tar.gz", "81 GB", "181c5419220c8a9468a12b8c938469ec"),
    OfficialFile("val.tar.gz", "25 GB", "828e4cf96e818228cb3536469cb3fb1c"),
    OfficialFile("test.tar.gz", "27 GB", "082a2e96ca34f6c9f61767e33cbf3626"),
    OfficialFile("train.json.tar.gz", "14 MB", "d0ae17ef52078194d450a83b5efe68a4"),
    OfficialFile("val.json.tar.gz", "3.7 MB", "8e6e4b9628d43e36f1fea4621945403a"),
    OfficialFile("test.json.tar.gz", "4.0 MB", "5482f112f05db4ba8576ba425d95d6a7"),
)
"""Source: README of visipedia/inat_sounds, 2024."""

COLUMNS: dict[str, str] = {
    "recording_id": "int64",
    "audio": "audio",
    "label": "label",
    "species": "string",
    "common_name": "string",
    "supercategory": "string",
    **dict.fromkeys(RANKS, "string"),
    "evaluation": "bool",
    "latitude": "float64",
    "longitude": "float64",
    "location_uncertainty_m": "float64",
    "date": "string",
    "duration_s": "float64",
    "license": "string",
    "license_url": "string",
    "rights_holder": "string",
    "file_name": "string",
}
"""Column → Arrow type name, or ``audio`` and ``label``; the order is the rows' order."""

DEFECT_COLUMN = "defect"
"""Last column of rows with audio: "empty", "unreadable" or "truncated", null where the recording is whole. It is known
only when the recording is read, so that annotations alone do not have it."""


def features(species: list[str], *, audio: bool = True, decode: bool = True, defect: bool = False) -> datasets.Features:
    """The dataset's ``datasets.Features``.

    Args:
        species: scientific names in label order.
        audio: whether there is an ``audio`` column; the ``annotations`` configuration has none.
        decode: whether the ``audio`` column decodes; False hands out ``{"bytes", "path"}``.
        defect: whether ``DEFECT_COLUMN`` follows.
    """
    import datasets

    made: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        if kind == "audio":
            if audio:
                made[name] = datasets.Audio(sampling_rate=SAMPLING_RATE_HZ, decode=decode)
        elif kind == "label":
            made[name] = datasets.ClassLabel(names=species)
        else:
            made[name] = datasets.Value(kind)
    if defect:
        made[DEFECT_COLUMN] = datasets.Value("string")
    return datasets.Features(made)
