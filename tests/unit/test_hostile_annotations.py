"""Annotation JSON made to hurt: one line that names the file and the entry, never another exception."""

import gzip
import json
import random
import subprocess
import sys

import pytest

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.data.annotation_json import MAX_JSON_BYTES, MAX_VALUES
from hf_inatsounds.data.annotations import read_annotations
from hf_inatsounds.errors import AnnotationError, InatSoundsError
from tests.helpers.archive import document, pack

GOOD = json.dumps(document("train")[0])


def read(folder, content):
    (folder / "train.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_annotations(Source(str(folder)), "train")


def changed(old, new, count=1):
    assert old in GOOD
    return GOOD.replace(old, new, count)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.encode("utf-16"), r"not UTF-8: .*train.json: found b'\\xff\\xfe\{\\x00' at byte 0"),
        (GOOD.encode("utf-16-le"), "not JSON"),
        (GOOD.encode("utf-32"), "not UTF-8"),
        (GOOD.encode().replace(b"somebody", b"some\xe4body", 1), "not UTF-8: .*at byte"),
        ("[" * 100_000 + "]" * 100_000, "not JSON"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "not JSON"),
        ("9" * 5_000, "not JSON"),
        (GOOD[:-100], "not JSON"),
        (GOOD + "x", "not JSON"),
        ("", "not JSON"),
        (changed('"id": 3,', '"id": 3, "id": 4,'), "key given twice: .*train.json: found 'id'"),
        (changed('"duration": 0.6', '"duration": Infinity'), r"audio id 0, duration: found inf"),
        (changed('"duration": 0.6', '"duration": 1e999'), "audio id 0, duration: found inf"),
        (changed('"duration": 0.6', f'"duration": 1{"0" * 400}'), "audio id 0, duration"),
        (changed('"location_uncertainty": 100', '"location_uncertainty": -Infinity'), "location_uncertainty"),
        (changed('"id": 3,', '"id": NaN,'), "bad id: .*found nan, no integer"),
        (changed('"id": 3,', '"id": 9223372036854775808,'), "no integer of 64 bits"),
        (changed('"id": 3,', '"id": [3],'), "bad id"),
        (changed('"audio_id": 3,', '"audio_id": {},'), "unknown recording"),
        (changed('"license": 1', '"license": [1]'), "unknown licence"),
        (changed('"evaluation": 1', '"evaluation": NaN'), "category id 0, evaluation: found nan; expected 0 or 1"),
        (changed('"evaluation": 1', '"evaluation": []'), "evaluation"),
        (changed('"name": "Rana una"', '"name": 7'), "category id 0, name: found 7"),
        (changed('"genus": "Rana"', '"genus": ""'), "category id 0, genus"),
        (changed('"common_name": "una animal"', '"common_name": {}'), "category id 0: found dict"),
        (changed('"rights_holder": "somebody"', '"rights_holder": "\\ud800"'), r"not Unicode: .*found '\\ud800'"),
        (changed('"rights_holder": "somebody"', f'"rights_holder": {"[" * 900}{"]" * 900}'), "no text|not JSON"),
        (changed("00000001-0000.wav", "00000000-0000.wav"), "two recordings have one file: .*audio ids 0 and 1"),
        (changed("train/00000_", "train/../../00000_"), "unsafe file name"),
        (changed("train/00000_", "train\\\\..\\\\..\\\\00000_"), "unsafe file name"),
        (changed("train/00000_", "\\u0000/00000_"), "unsafe file name"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message) as caught:
        read(tmp_path, content)
    text = str(caught.value)
    assert "train.json" in text
    assert "\n" not in text
    assert len(text) < 1_000


def test_a_byte_order_mark_and_nan_in_optional_places_are_let_through(tmp_path):
    text = changed('"common_name": "una animal"', '"common_name": NaN').replace('"license": 1', '"license": NaN', 1)
    table = read(tmp_path, b"\xef\xbb\xbf" + text.encode()).table
    assert table.num_rows == 12
    assert table["common_name"][0].as_py() is None
    assert table["license"][0].as_py() is None


@pytest.mark.parametrize("packed", [True, False])
def test_a_huge_document_is_refused_before_it_is_in_memory(tmp_path, monkeypatch, packed):
    monkeypatch.setattr("hf_inatsounds.data.annotation_json.MAX_JSON_BYTES", 1_000)
    if packed:
        pack(tmp_path / "train.json.tar.gz", {"train.json": GOOD.encode()})
    else:
        (tmp_path / "train.json").write_text(GOOD)
    with pytest.raises(AnnotationError, match=r"too large: .*more than 1,000|at most 1,000"):
        read_annotations(Source(str(tmp_path)), "train")


def test_a_hostile_annotation_archive_is_refused(tmp_path):
    (tmp_path / "train.json.tar.gz").write_bytes(gzip.compress(b"x" * 512 + bytes(1024)))
    with pytest.raises(AnnotationError, match=r"damaged archive: .*train\.json\.tar\.gz"):
        read_annotations(Source(str(tmp_path)), "train")


def test_no_mutation_brings_out_anything_but_our_errors(tmp_path):
    source = random.Random(5)
    tokens = ("null", "NaN", "-1", "1e999", "[]", "{}", '""', "true", '"\\ud800"', "9" * 30, ",", "}", "]", ":")
    outcomes = set()
    for _ in range(400):
        text = GOOD
        for _ in range(source.randint(1, 3)):
            at = text.find(source.choice((":", ",", "[", '"')), source.randrange(len(text))) + 1
            cut = source.choice((0, 1, 2, text.find(",", at) - at))
            text = text[:at] + source.choice(tokens) + text[at + max(cut, 0) :]
        try:
            read(tmp_path, text)
            outcomes.add("read")
        except InatSoundsError as error:
            outcomes.add(str(error).split(":")[0] if "train.json" in str(error) else f"nameless: {error}")
    assert len(outcomes) > 3
    assert not [outcome for outcome in outcomes if outcome.startswith("nameless")]


BOMB = """
import resource, sys
from hf_inatsounds.data.annotations import read_annotations
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.errors import AnnotationError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for folder in sys.argv[1:]:
    try:
        read_annotations(Source(folder), "train")
    except AnnotationError as error:
        print(str(error).split(":")[0], (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, sep="|")
"""


def test_json_of_millions_of_objects_is_refused_before_they_are_made(tmp_path):
    """260 kB of gzip took 5.8 GB: of "[]," every three bytes become 64 of an object and its place in a list."""
    bombs = {
        "packed": b'{"audio": [' + b"[]," * 80_000_000 + b"[]]}",
        "lists": b'{"audio": [' + b"[]," * 5_000_000 + b"[]]}",
        "objects": b'{"audio": [' + b'{"a":1},' * 5_000_000 + b"{}]}",
        "numbers": b'{"audio": [' + b"1," * 17_000_000 + b"1]}",
        "nested": b'{"a":[' * 5_000_000,
    }
    for name, content in bombs.items():
        (tmp_path / name).mkdir()
        if name == "packed":
            pack(tmp_path / name / "train.json.tar.gz", {"train.json": content})
            assert (tmp_path / name / "train.json.tar.gz").stat().st_size < 3_000_000
        else:
            (tmp_path / name / "train.json").write_bytes(content)
    command = [sys.executable, "-c", BOMB, *(str(tmp_path / name) for name in bombs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    lines = [line.split("|") for line in done.stdout.splitlines()]
    assert len(lines) == len(bombs)
    assert {what for what, _ in lines} == {"archive swells like a bomb", "annotations too large"}
    assert max(int(megabytes) for _, megabytes in lines) < 400


def test_an_object_of_very_many_keys_one_twice_is_refused_soon(tmp_path):
    keys = ",".join(f'"{i}":1' for i in range(200_000))
    with pytest.raises(AnnotationError, match=r"key given twice: .*found '199999'"):
        read(tmp_path, "{" + keys + ',"199999":1}')


def test_a_document_of_the_official_size_is_far_from_the_limits():
    one = len(document("train")[0]["audio"])
    values = GOOD.count(",") + GOOD.count("{") + GOOD.count("[")
    assert values / one * 137_012 * 4 < MAX_VALUES
    assert len(GOOD) / one * 137_012 * 2 < MAX_JSON_BYTES
