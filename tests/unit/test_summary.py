"""The counts of ``annotations``, against numbers computed by hand from tests/helpers/archive.py."""

import pytest

from hf_inatsounds.data.annotation_summary import summarise_annotations
from hf_inatsounds.data.annotations import parse_annotations
from hf_inatsounds.reports.source_reports import annotations_text
from tests.helpers.archive import document

# seconds of a species' recordings, by how many it has: .6, 1.5, 2.4, .6, 1.5
SECONDS = {5: 6.6, 4: 5.1, 3: 4.5, 0: 0.0}


def summary(change=None):
    found = []
    for split, stem in (("train", "train"), ("validation", "val")):
        made, _ = document(stem)
        if change is not None:
            change(split, made)
        found.append(parse_annotations(made, split=split, where=stem))
    return summarise_annotations(found)


def counts(recordings, seconds, species, without_common_name, **more):
    return {
        "recordings": recordings, "hours": pytest.approx(seconds / 3600), "without_duration": 0, "species": species,
        "with_place": recordings, "without_common_name": without_common_name,
        "licenses": {"CC BY 4.0": recordings} if recordings else {}, **more,
    }  # fmt: skip


def test_the_counts_are_those_computed_by_hand():
    assert summary() == {
        "title": "tones in the layout of iNatSounds",
        "official": False,
        "classes": 3,
        "evaluated_classes": 2,
        "classes_without_common_name": 1,
        "splits": {
            "train": {
                "total": counts(12, SECONDS[5] + SECONDS[4] + SECONDS[3], 3, 3),
                "supercategories": {
                    "Amphibia": counts(5, SECONDS[5], 1, 0),
                    "Aves": counts(7, SECONDS[4] + SECONDS[3], 2, 3),
                },
            },
            "validation": {
                "total": counts(6, 2 * SECONDS[3], 2, 0),
                "supercategories": {"Amphibia": counts(3, SECONDS[3], 1, 0), "Aves": counts(3, SECONDS[3], 1, 0)},
            },
        },
    }


def test_missing_places_durations_and_licences_are_counted():
    def change(split, made):
        if split == "train":
            made["audio"][0] |= {"latitude": None, "license": None}
            made["audio"][1] |= {"longitude": float("nan"), "duration": None}
            made["licenses"].append({"id": 2, "name": "CC0 1.0", "url": None})
            made["audio"][2]["license"] = 2

    frogs = summary(change)["splits"]["train"]["supercategories"]["Amphibia"]
    assert (frogs["with_place"], frogs["without_duration"]) == (3, 1)
    assert frogs["hours"] == pytest.approx((6.6 - 1.5) / 3600)
    assert list(frogs["licenses"].items()) == [("CC BY 4.0", 3), ("CC0 1.0", 1), ("no licence given", 1)]


def test_a_supercategory_that_one_split_lacks_has_zeros():
    def change(split, made):
        if split == "validation":
            made["audio"], made["annotations"] = made["audio"][:3], made["annotations"][:3]

    found = summary(change)
    assert found["splits"]["validation"]["supercategories"]["Aves"] == counts(0, 0.0, 0, 0)
    text = annotations_text(found)
    rows = [line.split() for line in text.splitlines()]
    assert ["Aves", "train", "2", "7", "0.00", "100.0%", "42.9%"] in rows
    assert ["Aves", "validation", "0", "0", "0.00"] in rows
    assert ["CC", "BY", "4.0", "train", "5", "7", "12"] in rows
