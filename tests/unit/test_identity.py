"""Whose a file is: digests of checkpoints, positions of runs, and which evaluations a folder's model has."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds.errors import CheckpointError, ScoresError
from hf_inatsounds.files import write_json
from hf_inatsounds.fingerprints import checkpoint_digest, weight_files
from hf_inatsounds.reports.model_card import read_results, results_of
from hf_inatsounds.training.batches import GlobalBatches, Part
from hf_inatsounds.training.checkpoints import Position
from hf_inatsounds.training.crops import RecordingList
from tests.unit.test_batches import Numbers
from tests.unit.test_reports import RESULTS

FILES = {
    "model.safetensors": b"weights", "config.json": b"{}", "preprocessor_config.json": b"{}", "label_space.json": b"{}",
    "inatsounds.json": b"{}", "README.md": b"", "training.safetensors": b"both",
}  # fmt: skip


def model(folder, **changes):
    folder.mkdir(exist_ok=True)
    for name, content in {**FILES, **changes}.items():
        (folder / name).write_bytes(content)
    return folder


def evaluation(folder, digest, split="test"):
    results = copy.deepcopy(RESULTS)
    results["model"]["checkpoint_sha256"] = digest
    results["dataset"]["split"] = split
    write_json(folder / "results.json", results)


def test_a_checkpoints_digest_is_of_all_that_its_scores_depend_on(tmp_path):
    whole = checkpoint_digest(model(tmp_path / "a"))
    assert whole == checkpoint_digest(model(tmp_path / "b"))
    for name in FILES:
        changed = checkpoint_digest(model(tmp_path / "c", **{name: b"[1]"}))
        assert (changed == whole) == (name in ("inatsounds.json", "README.md", "training.safetensors")), name
    shards = {
        "model-00001-of-00002.safetensors": b"1",
        "pytorch_model.bin": b"2",
        "model.safetensors.index.json": b"{}",
    }
    more = model(tmp_path / "d", **shards)
    assert {path.name for path in weight_files(more)} == {"model.safetensors", *shards}
    assert checkpoint_digest(more) != whole
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "config.json").write_text("{}")
    assert checkpoint_digest(tmp_path / "e") is None


def test_a_model_has_the_evaluations_of_its_own_weights(tmp_path, capsys):
    digest = checkpoint_digest(model(tmp_path))
    evaluation(tmp_path / "evaluation-validation", digest, "validation")
    evaluation(tmp_path / "evaluation-test", "0" * 64)
    evaluation(tmp_path / "older", None)
    own, foreign = results_of(tmp_path)
    assert list(own) == [tmp_path / "evaluation-validation" / "results.json"]
    assert [path.parent.name for path in foreign] == ["evaluation-test", "older"]
    assert [one["dataset"]["split"] for one in read_results(tmp_path)] == ["validation"]
    assert capsys.readouterr().err.count("left out, since it is of another model") == 2


def test_a_folder_without_a_model_holds_evaluations_of_one(tmp_path):
    evaluation(tmp_path / "evaluation-test", "1" * 64)
    evaluation(tmp_path / "evaluation-validation", "1" * 64, "validation")
    assert len(read_results(tmp_path)) == 2
    evaluation(tmp_path / "evaluation-validation", "2" * 64, "validation")
    with pytest.raises(ScoresError, match="evaluations of several models"):
        read_results(tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60), size=st.integers(1, 6), processes=st.integers(1, 5), accumulation=st.integers(1, 3),
    others=st.integers(1, 6), at=st.floats(0, 1), epoch=st.integers(0, 2),
)  # fmt: skip
def test_any_number_of_processes_takes_the_steps_that_the_run_began_with(
    n, size, processes, accumulation, others, at, epoch
):
    """Whoever resumes, wherever: each step has the recordings of the undisturbed run, each of them once."""

    def steps(n_processes, step_size, passed=0):
        """Recordings of each step, over all processes."""
        parts = [Part(size, process, n_processes, step_size) for process in range(n_processes)]
        made = [GlobalBatches(RecordingList(Numbers(n)), n, part, seed=3) for part in parts]
        for one in made:
            one.set_epoch(epoch, passed * parts[0].passes)
        batches = [list(one) for one in made]
        assert {len(one) for one in batches} == {len(made[0])}
        assert -(-len(made[0]) // parts[0].passes) == made[0].steps  # as the Trainer counts them
        assert all(len(batch) <= size for one in batches for batch in one)
        found = []
        for first in range(0, len(made[0]), parts[0].passes):
            passes = [batch for one in batches for batch in one[first : first + parts[0].passes]]
            found.append(sorted(number for batch in passes for number, counts in batch if counts))
        return found

    begun = Part(size, 0, processes, size * processes * accumulation)
    whole = steps(processes, begun.step_items)
    assert sorted(number for step in whole for number in step) == list(range(n))
    passed = round(at * len(whole))
    assert steps(others, begun.step_items, passed)[passed:] == whole[passed:]
    place = Position.after(
        epoch * len(whole) + passed, run="a", per_step=begun.step_items, per_epoch=n, processes=processes
    )
    assert place.recordings == epoch * n + sum(map(len, whole[:passed]))


@pytest.mark.parametrize("found", ["", "{", "[]", "{}", '{"run": 3}', '{"run": "a", "step": "2"}'])
def test_a_malformed_position_is_named(tmp_path, found):
    (tmp_path / "run.json").write_text(found)
    with pytest.raises(CheckpointError, match=r"no position to go on from: .*run\.json"):
        Position.load(tmp_path)


def test_a_position_is_read_as_it_was_written(tmp_path):
    place = Position.after(38, run="a", per_step=16, per_epoch=600, processes=2)
    place.save(tmp_path)
    assert Position.load(tmp_path) == place
    assert json.loads((tmp_path / "run.json").read_text())["recordings"] == 600
