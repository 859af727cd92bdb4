"""The loading script as a builder under this environment's datasets; `make loading-script` runs it under 3.6.0."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import hf_inatsounds
from hf_inatsounds.errors import SourceError
from hf_inatsounds.schema import SUPERCATEGORIES
from tests.helpers.archive import write_source

SCRIPT = Path(__file__).parents[2] / "loading_script" / "inatsounds.py"


@pytest.fixture
def builder(monkeypatch):
    spec = importlib.util.spec_from_file_location("loading_script_inatsounds", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module.INatSoundsScript


@pytest.mark.parametrize("name", ["all", "aves", "annotations"])
def test_its_rows_are_those_of_load_dataset(builder, tiny, name):
    made = builder(config_name=name, source=str(tiny)).as_streaming_dataset(split="validation")
    if name != "annotations":
        made = made.decode(False)
    assert list(made) == list(hf_inatsounds.load_dataset(name, "validation", source=tiny))


def test_it_lists_the_standard_names_and_starts_with_all(builder, tiny):
    assert list(builder.builder_configs) == ["all", *SUPERCATEGORIES, "evaluation", "annotations"]
    assert builder(source=str(tiny)).config.name == "all"
    with pytest.raises(SourceError, match="no such source"):
        builder(config_name="aves", source=str(tiny / "nowhere"))


def test_a_changed_folder_is_another_cache(builder, tmp_path):
    before = builder(source=str(write_source(tmp_path)), config_name="all").cache_dir
    (tmp_path / "train.tar.gz").touch()  # written anew, for all that can be told without reading it
    assert builder(source=str(tmp_path), config_name="all").cache_dir != before


def test_datasets_3_can_read_its_imports():
    text = SCRIPT.read_text()
    imports = re.findall(r"^(?:import|from)\b.*", text, re.MULTILINE)
    assert imports
    assert not [line for line in imports if "," in line or "(" in line]
    assert SCRIPT.stem != SCRIPT.parent.name  # else datasets ≥ 4 refuses the folder
