import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.archive_rows import LANES
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.data.ordering import Lanes
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.errors import ArgumentsError, SourceError
from hf_inatsounds.schema import RANKS

GENERA = (("Amphibia", "Ranidae", "Rana"), ("Amphibia", "Hylidae", "Hyla"), ("Aves", "Turdidae", "Turdus"))
TAXA = tuple(
    Taxon(
        f"{genus} s{i}",
        "",
        supercategory,
        ("Animalia", "Chordata", supercategory, "O", family, genus, f"s{i}"),
        i % 3 != 1,
    )
    for supercategory, family, genus in GENERA
    for i in range(4)
)
LICENSES = ("CC0 1.0", "CC BY 4.0", "CC BY-NC 4.0", None)
SQUARE = {"type": "Polygon", "coordinates": [[[-10, -10], [60, -10], [60, 50], [-10, 50], [-10, -10]],
                                            [[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]}  # fmt: skip


def made(n=400, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in rng.permutation(n).tolist():
        label = int(rng.integers(len(TAXA)))
        taxon, known = TAXA[label], rng.random() > 0.1
        rows.append({
            "recording_id": i + 1000, "label": label, "species": taxon.species, "supercategory": taxon.supercategory,
            **dict(zip(RANKS, taxon.ranks, strict=True)), "evaluation": taxon.evaluated,
            "latitude": float(rng.uniform(-90, 90)) if known else None,
            "longitude": float(rng.uniform(-180, 180)) if known else None,
            "date": f"{rng.integers(2015, 2024)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d} 05:00:00+00:00"
            if rng.random() > 0.1 else None,
            "duration_s": float(rng.exponential(20)) if rng.random() > 0.1 else None,
            "license": LICENSES[int(rng.integers(len(LICENSES)))], "file_name": f"train/{i}.wav",
        })  # fmt: skip
    table = pa.Table.from_pylist(rows)
    return Annotations("train", table, LabelSpace(TAXA), "t")


ALL = made()


def km_between(row, latitude, longitude):
    a, b, c, d = map(math.radians, (row["latitude"], row["longitude"], latitude, longitude))
    cosine = math.sin(a) * math.sin(c) + math.cos(a) * math.cos(c) * math.cos(b - d)
    return 6371.0088 * math.acos(max(-1.0, min(1.0, cosine)))


def meets(row, key, value):
    """Whether a row meets a condition, written for one row at a time."""
    place = row["latitude"] is not None
    match key:
        case "license" | "species" | "supercategory" | "family" | "genus":
            return row[key] in value
        case "evaluation":
            return row["evaluation"] == value
        case "box":
            south, west, north, east = value
            x = row["longitude"]
            return (
                place
                and south <= row["latitude"] <= north
                and (west <= x <= east if west <= east else x >= west or x <= east)
            )
        case "radius":
            return place and km_between(row, *value[:2]) <= value[2]
        case "date":
            return row["date"] is not None and value[0] <= row["date"][:10] <= value[1]
        case "duration_s":
            return row["duration_s"] is not None and value[0] <= row["duration_s"] <= value[1]


names = {
    "species": [taxon.species for taxon in TAXA], "supercategory": ["Amphibia", "Aves"],
    "family": ["Ranidae", "Hylidae", "Turdidae"], "genus": ["Rana", "Hyla", "Turdus"], "license": LICENSES[:3],
}  # fmt: skip
degrees = st.floats(-90, 90, allow_nan=False)
conditions = st.fixed_dictionaries({}, optional={
    **{key: st.lists(st.sampled_from(of), min_size=1, unique=True) for key, of in names.items()},
    "evaluation": st.booleans(),
    "box": st.tuples(degrees, degrees, degrees, degrees).map(
        lambda b: [min(b[0], b[2]), 2 * b[1], max(b[0], b[2]), 2 * b[3]]
    ),
    "radius": st.tuples(degrees, degrees, st.floats(100, 15_000)).map(list),
    "date": st.tuples(st.dates(), st.dates()).map(lambda d: [str(min(d)), str(max(d))]),
    "duration_s": st.tuples(st.floats(0, 40), st.floats(0, 40)).map(lambda d: sorted(d)),
})  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(select=conditions, most=st.none() | st.integers(1, 30), relabel=st.booleans())
def test_every_combination_is_what_a_filter_over_all_rows_gives(select, most, relabel):
    wanted = [
        row["recording_id"]
        for row in ALL.table.to_pylist()
        if all(meets(row, key, value) for key, value in select.items())
    ]
    more = {**({"max_per_class": most, "seed": 3} if most else {}), **({"relabel": True} if relabel else {})}
    chosen = Selection.parse("all", {**select, **more}).apply(ALL)
    found = chosen.table["recording_id"].to_pylist()
    species = dict(zip(*(ALL.table[name].to_pylist() for name in ("recording_id", "species")), strict=True))
    if most is None:
        assert found == wanted
    else:
        assert set(found) <= set(wanted)
        for one in set(species.values()):
            there = [i for i in wanted if species[i] == one]
            assert sum(species[i] == one for i in found) == min(len(there), most)
    assert [chosen.label_space.species[i] for i in chosen.table["label"].to_pylist()] == [species[i] for i in found]
    assert relabel or chosen.label_space is ALL.label_space


def test_the_draw_depends_on_no_other_recording_and_grows():
    few = set(Selection.parse("all", {"max_per_class": 5}).apply(ALL).table["recording_id"].to_pylist())
    more = set(Selection.parse("all", {"max_per_class": 12}).apply(ALL).table["recording_id"].to_pylist())
    frogs = Selection.parse("amphibia", {"max_per_class": 5}).apply(ALL).table["recording_id"].to_pylist()
    other = set(Selection.parse("all", {"max_per_class": 5, "seed": 1}).apply(ALL).table["recording_id"].to_pylist())
    assert few < more
    assert set(frogs) < few
    assert few != other


def test_a_polygon_has_a_hole_and_a_file_of_species_may_be_ebirds(tmp_path):
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Feature", "properties": {}, "geometry": SQUARE}))
    (tmp_path / "list.txt").write_text("# frogs\nRana s0\nHyla s1_Some frog\n\n")
    select = [f"polygon={tmp_path}/a.geojson", f"species=@{tmp_path}/list.txt"]
    found = Selection.parse("all", select).apply(ALL).table.to_pylist()
    expected = [
        row["recording_id"] for row in ALL.table.to_pylist()
        if row["species"] in ("Rana s0", "Hyla s1") and row["latitude"] is not None
        and -10 < row["longitude"] < 60 and -10 < row["latitude"] < 50
        and not (0 < row["longitude"] < 20 and 0 < row["latitude"] < 20)
    ]  # fmt: skip
    assert expected
    assert [row["recording_id"] for row in found] == expected
    (tmp_path / "a.geojson").unlink()
    again = Selection.from_text(Selection.parse("all", select[1:]).text)  # what files said is in it
    assert again == Selection.parse("all", {"species": ["Hyla s1_Some frog", "Rana s0"]})


def test_texts_and_mappings_say_the_same():
    texts = ["family=Ranidae,Hylidae", "license=CC0 1.0", "date=2019..2020-06", "duration_s=..10", "evaluation=true",
             "box=-10,170,10,-170", "max_per_class=7", "relabel=no"]  # fmt: skip
    mapping = {
        "family": ["Ranidae", "Hylidae"], "license": "CC0 1.0", "date": ["2019", "2020-06"], "duration_s": [None, 10],
        "evaluation": True, "box": [-10, 170, 10, -170], "max_per_class": 7, "relabel": False,
    }  # fmt: skip
    assert Selection.parse("all", texts).text == Selection.parse("all", mapping).text


@pytest.mark.parametrize(
    ("select", "said"),
    [
        ({"familly": "Ranidae"}, "family"),
        ({"family": []}, "no name"),
        ({"box": "1,2,3"}, "south, west, north, east"),
        ({"box": [5, 0, -5, 0]}, "south below north"),
        ({"radius": [0, 0, 0]}, "more than 0 km"),
        ({"radius": [100, 0, 5]}, "latitudes from -90"),
        ({"date": "last year"}, "a date as 2021"),
        ({"date": "2020..2019"}, "FROM before TO"),
        ({"duration_s": "nan..3"}, "seconds"),
        ({"max_per_class": 0}, "at least 1"),
        ({"max_per_class": True}, "at least 1"),
        ({"evaluation": "perhaps"}, "true or false"),
        ({"polygon": "nowhere.geojson"}, "nowhere.geojson"),
        (["family"], "KEY=VALUE"),
        (["family=a", "family=b"], "each key once"),
    ],
)
def test_what_cannot_be_selected_is_named(select, said):
    with pytest.raises(ArgumentsError, match="select") as caught:
        Selection.parse("all", select)
    assert said in str(caught.value)


def test_an_unknown_name_is_an_error_with_those_that_are_near():
    with pytest.raises(SourceError, match="Ranidae"):
        Selection.parse("all", {"family": "Ranida"}).apply(ALL)


@settings(max_examples=80, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=0, max_size=60),
    step=st.integers(1, 40),
    slots=st.integers(1, 20),
    phases=st.integers(1, 12),
    within=st.booleans(),
)
def test_lanes_have_every_row_once_and_blocks_in_order(sizes, step, slots, phases, within):
    blocks = np.repeat(np.arange(len(sizes)) * 3, sizes)
    lanes = Lanes(slots, phases, 64, 16)
    order = lanes.order(blocks, step, np.random.default_rng(0), within=within)
    assert sorted(order.tolist()) == list(range(len(blocks)))
    assert order.tolist() == lanes.order(blocks, step, np.random.default_rng(0), within=within).tolist()
    if not within:
        for block in set(blocks.tolist()):
            assert (np.diff(order[blocks[order] == block]) > 0).all()


@pytest.mark.parametrize(("step", "processes", "workers"), [(64, 8, 1), (64, 4, 4), (48, 3, 2), (16, 16, 4), (8, 1, 8)])
def test_neither_processes_nor_workers_share_blocks(step, processes, workers):
    blocks = np.repeat(np.arange(6000), 6)
    order = LANES.order(blocks, step, np.random.default_rng(0), within=False)
    place = np.arange(len(order))
    reader = (place % step) // (step // processes) * workers + place // step % workers
    read = sum(len(np.unique(blocks[order[reader == one]])) for one in range(processes * workers))
    assert read <= 1.1 * 6000
