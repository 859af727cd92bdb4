import copy
import json

import pytest

from hf_inatsounds.data.annotations import parse_annotations
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import AnnotationError, CheckpointError, SourceError
from hf_inatsounds.schema import COLUMNS
from tests.helpers.archive import document

GOOD, _ = document("train")


def parsed(change=None):
    made = copy.deepcopy(GOOD)
    if change is not None:
        change(made)
    return parse_annotations(made, split="train", where="train.json.tar.gz")


def test_rows_have_all_columns_but_audio_in_the_contracts_order():
    annotations = parsed()
    assert annotations.table.column_names == [name for name in COLUMNS if name != "audio"]
    row = annotations.table.to_pylist()[5]
    assert (row["species"], row["label"], row["evaluation"]) == ("Turdus duo", 1, True)
    assert row["license_url"] == "https://creativecommons.org/licenses/by/4.0/"


def test_null_and_nan_are_both_null():
    values = parsed().table["location_uncertainty_m"].to_pylist()
    assert values[:3] == [100.0, None, None]


def test_an_empty_common_name_is_null():
    assert parsed().table["common_name"].to_pylist()[-1] is None


def test_names_select_rows():
    annotations = parsed()
    assert annotations.select("all").num_rows == 12
    assert annotations.select("aves").num_rows == 7
    assert annotations.select("evaluation").num_rows == 9
    with pytest.raises(SourceError, match="all, amphibia, aves, evaluation, annotations"):
        annotations.select("reptilia")


def broken(path, value):
    def change(made):
        *outer, last = path
        target = made
        for key in outer:
            target = target[key]
        if value is KeyError:
            del target[last]
        else:
            target[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("annotations", 3, "audio_id"), 999, r"annotations\[3\].*audio_id 999"),
        (("annotations", 3, "category_id"), 3, r"annotations\[3\].*category_id 3.*0 … 2"),
        (("annotations", 3, "category_id"), -1, "category_id -1"),
        (("annotations", 3, "category_id"), "1", "category_id '1'"),
        (("annotations", 3, "audio_id"), 2, "two annotations of one recording"),
        (("annotations", 3), KeyError, "recording without annotation.*audio id 3"),
        (("audio",), KeyError, "missing list.*'audio'"),
        (("audio", 2, "file_name"), KeyError, r"audio\[2\]: found no file_name"),
        (("audio", 2, "file_name"), "../../etc/passwd", "unsafe file name"),
        (("audio", 2, "file_name"), "/etc/passwd", "unsafe file name"),
        (("audio", 2, "id"), 1, r"audio\[2\].*given twice"),
        (("audio", 2, "id"), "x", "no integer"),
        (("audio", 2, "license"), 9, "unknown licence.*9"),
        (("audio", 2, "latitude"), 91, "latitude.*91.*-90.0 … 90.0"),
        (("audio", 2, "duration"), "long", "duration.*'long'"),
        (("categories", 2, "id"), 7, "gaps"),
        (("categories", 2, "genus"), KeyError, r"categories\[2\].*no genus"),
        (("categories", 2, "name"), "Rana una", "one scientific name: 'Rana una'"),
        (("licenses",), 3, "'licenses'.*int"),
    ],
)
def test_contradictions_are_named(path, value, message):
    with pytest.raises(AnnotationError, match=message):
        parsed(broken(path, value))


@pytest.mark.parametrize("found", [[], "text", None, 3])
def test_a_document_of_another_shape_is_refused(found):
    with pytest.raises(AnnotationError, match="not an annotation document"):
        parse_annotations(found, split="train", where="x.json")


def test_a_missing_licence_and_place_are_null():
    row = parsed(broken(("audio", 0, "license"), None)).table.to_pylist()[0]
    assert row["license"] is None
    assert parsed(broken(("audio", 0, "latitude"), None)).table["latitude"].to_pylist()[0] is None


def test_a_label_space_survives_saving(tmp_path):
    space = parsed().label_space
    space.save(tmp_path)
    assert LabelSpace.load(tmp_path) == space
    assert space.evaluated == [0, 1]
    assert space.label("Turdus tres") == 2


@pytest.mark.parametrize("text", ["", "{}", '{"taxa": [{"species": "a"}]}', '{"taxa": 3}'])
def test_a_malformed_label_space_is_named(tmp_path, text):
    (tmp_path / "label_space.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"label_space\.json"):
        LabelSpace.load(tmp_path)


def test_label_spaces_that_differ_are_told_apart():
    mine = parsed().label_space
    other = LabelSpace(mine.taxa[:2])
    with pytest.raises(CheckpointError, match="2 classes, 'nothing' at label 2; expected 3 classes, 'Turdus tres'"):
        mine.check_matches(other, where="here")


def test_the_json_of_the_helpers_is_json():
    assert json.loads(json.dumps(GOOD))["categories"][0]["id"] == 0
