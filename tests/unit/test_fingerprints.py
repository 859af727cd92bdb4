"""One home for what a finished thing depends on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from hf_inatsounds import fingerprints
from hf_inatsounds.fingerprints import code_fingerprint, fingerprint, table_fingerprint, tensors_fingerprint

PACKAGE = Path(fingerprints.__file__).parent


def test_a_fact_of_an_unknown_type_is_refused():
    with pytest.raises(TypeError):
        fingerprint({"path": Path("x")})


def test_every_column_of_a_table_counts():
    table = pa.table({"id": [1, 2], "place": ["a", None], "rate": [1.0, float("nan")]})
    same = pa.concat_tables([table.slice(0, 1), table.slice(1, 1)]).replace_schema_metadata({"x": "y"})
    assert table_fingerprint(same) == table_fingerprint(table)
    for column, values in (("id", [1, 3]), ("place", ["a", ""]), ("rate", [1.0, None])):
        other = table.set_column(table.column_names.index(column), column, pa.array(values, table[column].type))
        assert table_fingerprint(other) != table_fingerprint(table), column
    assert table_fingerprint(table.take([1, 0])) != table_fingerprint(table)


def test_every_weight_counts_with_its_type_and_shape():
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3, dtype=torch.int64)}
    was = tensors_fingerprint(state)
    assert tensors_fingerprint({name: tensor.clone() for name, tensor in reversed(state.items())}) == was
    assert tensors_fingerprint({**state, "a": state["a"].reshape(3, 2)}) != was
    assert tensors_fingerprint({**state, "a": state["a"].bfloat16()}) != was
    assert tensors_fingerprint({**state, "a": torch.nextafter(state["a"], torch.tensor(9.0))}) != was
    assert tensors_fingerprint({**state, "a": torch.full((2, 3), float("nan"))}) != was


def code_in(root: Path, module: str) -> str:
    """The same function of a copy of the package."""
    code = f"from hf_inatsounds.fingerprints import code_fingerprint as f; print(f({module!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def test_a_changed_line_changes_the_code_of_what_imports_it_and_of_nothing_else(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "hf_inatsounds", ignore=shutil.ignore_patterns("__pycache__"))
    scoring, tables = "hf_inatsounds.scoring.recordings", "hf_inatsounds.reports.tables"
    before = code_in(tmp_path, scoring), code_in(tmp_path, tables)
    assert before[0] == code_fingerprint(scoring)
    deep = tmp_path / "hf_inatsounds" / "audio" / "windows.py"
    deep.write_text(deep.read_text() + "\nX = 1\n")
    assert code_in(tmp_path, scoring) != before[0]
    assert code_in(tmp_path, tables) == before[1]


@pytest.mark.slow
def test_what_a_module_imports_when_it_runs_is_covered():
    """Whatever of this package is loaded by importing a module is in its fingerprint's reach."""
    for module in ("hf_inatsounds.scoring.recordings", "hf_inatsounds.data.builder", "hf_inatsounds.publishing.mirror"):
        code = (
            f"import {module}, sys, json; print(json.dumps([m for m in sys.modules if m.startswith('hf_inatsounds.')]))"
        )
        loaded = json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        reached = fingerprints._reached([module])
        lacking = [one for one in loaded if not set(fingerprints._files(one)) <= reached]
        assert lacking == [], module


def test_no_such_module():
    with pytest.raises(ModuleNotFoundError):
        code_fingerprint("hf_inatsounds.nothing")
