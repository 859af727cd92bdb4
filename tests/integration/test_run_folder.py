"""What lies in a run's folder never changes its weights, records or card: whose it is decides."""

import json
import shutil
import threading
import time

import pytest

from hf_inatsounds.cli.main import main
from hf_inatsounds.errors import RecipeError, ScoresError, TrainingError
from hf_inatsounds.fingerprints import checkpoint_digest
from hf_inatsounds.training import ownership
from hf_inatsounds.training.arguments import recipe_yaml
from hf_inatsounds.training.ownership import LOCK_FILE, OWNER_FILE, RunFolder
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer
from tests.helpers.archive import category, write_source
from tests.helpers.training import equal, small_recipe

STEPS = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "save_steps": 2}


def cut_off(recipe, passes, *, resume=False):
    """Train until so many forward passes are done, then stop as a kill would, but for the lock."""
    original, seen = CropTrainer.compute_loss, []

    def interrupted(self, *arguments, **options):
        seen.append(1)
        if len(seen) > passes:
            raise KeyboardInterrupt
        return original(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CropTrainer, "compute_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, resume=resume, quiet=True)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in (LOCK_FILE, OWNER_FILE)
    }


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A finished run, with an evaluation."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(small_recipe(tiny, out, **STEPS), quiet=True)
    assert main(["evaluate", str(out), "--source", str(tiny), "--no-report", "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def other(tiny, tmp_path_factory):
    """A run of another seed that was cut off after its fourth step."""
    out = tmp_path_factory.mktemp("other") / "run"
    cut_off(small_recipe(tiny, out, seed=7, **STEPS), 5)
    return out


@pytest.mark.parametrize(
    "names",
    [
        ["checkpoints", "origin.json", "recipe.yaml"],
        ["checkpoints"],
        ["origin.json"],
    ],
    ids=["killed", "its checkpoints", "its record"],
)
def test_a_run_does_not_begin_where_a_killed_one_left_something(tiny, tmp_path, other, names):
    for name in names:
        copy = shutil.copytree if (other / name).is_dir() else shutil.copy
        copy(other / name, tmp_path / name)
    before = contents(tmp_path)
    with pytest.raises(
        RecipeError, match=r"what another run left: .*: found .*--resume.*output_dir|output_dir; --resume auto"
    ):
        train(small_recipe(tiny, tmp_path, **STEPS), quiet=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "name", ["model.safetensors", "config.json", "evaluation-test", "report.md", "pytorch_model.bin", "train.json"]
)
def test_a_run_does_not_begin_where_a_finished_one_left_something(tiny, tmp_path, whole, name):
    source = whole / ("model.safetensors" if name == "pytorch_model.bin" else name)
    (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    before = contents(tmp_path)
    for resume in (False, "auto"):
        with pytest.raises(RecipeError, match=r"another run left|finished run"):
            train(small_recipe(tiny, tmp_path, **STEPS), resume=resume, quiet=True)
    assert contents(tmp_path) == before


def test_checkpoints_of_another_run_are_not_gone_on_from(tiny, tmp_path, other):
    cut_off(small_recipe(tiny, tmp_path, **STEPS), 3)
    shutil.copytree(other / "checkpoints" / "checkpoint-4", tmp_path / "checkpoints" / "checkpoint-4")
    with pytest.raises(RecipeError, match=r"a checkpoint of another run: .*checkpoint-4: found run \w+; expected run"):
        train(small_recipe(tiny, tmp_path, **STEPS), resume=True, quiet=True)


def test_resume_auto_goes_on_or_begins(tiny, tmp_path, whole, monkeypatch):
    began, original = [], CropTrainer.train

    def watched(self, **options):
        began.append(options["resume_from_checkpoint"])
        original(self, **options)

    monkeypatch.setattr(CropTrainer, "train", watched)
    for name, passes in (("nothing", None), ("unsaved", 1), ("saved", 5)):
        recipe = small_recipe(tiny, tmp_path / name, **STEPS)
        if passes:
            cut_off(recipe, passes, resume="auto")
        train(recipe, resume="auto", quiet=True)
        assert bool(began[-1]) == (name == "saved")
        assert equal(whole, tmp_path / name)


@pytest.mark.parametrize(
    "words", [["--resume", "auto", "R"], ["R", "--resume", "auto"], ["R", "--num_train_epochs", "3", "--resume=auto"]]
)
def test_the_command_takes_resume_auto_anywhere(tiny, tmp_path, monkeypatch, words):
    found = []

    def remembered(recipe, **options):
        found.append((recipe.training.num_train_epochs, options["resume"]))
        raise RecipeError("enough")

    monkeypatch.setattr("hf_inatsounds.training.run.train", remembered)
    path = tmp_path / "r.yaml"
    path.write_text(recipe_yaml(small_recipe(tiny, tmp_path / "run", **STEPS)))
    assert main(["train", *(str(path) if word == "R" else word for word in words)]) == 1
    assert found == [(3, "auto")]


def test_two_runs_do_not_share_a_folder(tiny, tmp_path, whole):
    folder = RunFolder(tmp_path / "run")
    try:
        with pytest.raises(RecipeError, match=r"another process is at work .*found process \d+ on .*output_dir"):
            train(small_recipe(tiny, tmp_path / "run", **STEPS), quiet=True)
    finally:
        folder.release()
    assert not (tmp_path / "run").exists()  # nothing had begun in it
    train(small_recipe(tiny, tmp_path / "run", **STEPS), quiet=True)
    assert equal(whole, tmp_path / "run")


def test_the_folder_of_a_dead_process_is_free(tmp_path):
    folder = RunFolder(tmp_path)
    record = json.loads((tmp_path / OWNER_FILE).read_text())
    folder.release()
    (tmp_path / OWNER_FILE).write_text(json.dumps({**record, "pid": 2**22 + 1}))
    RunFolder(tmp_path).release()
    assert not (tmp_path / OWNER_FILE).exists()


@pytest.mark.parametrize("locks", ["of each machine", "of all machines"])
@pytest.mark.parametrize("alive", [True, False])
def test_an_owner_on_another_machine_is_known_by_its_signs_of_life(tmp_path, monkeypatch, alive, locks):
    monkeypatch.setattr(ownership, "STILL_S", 3.0 if alive else 0.3)
    there = RunFolder(tmp_path)
    if locks == "of each machine":
        there._lock.release()
    record = {"host": "elsewhere", "boot": "other", "pid": 1, "token": "other"}
    ended = threading.Event()

    def write(beat):
        with ownership.contextlib.suppress(OSError):
            ownership.write_json(tmp_path / OWNER_FILE, {**record, "beat": beat})

    def beats():
        beat = 0
        while not ended.wait(0.02):
            beat += 1
            write(beat)

    write(0)
    thread = threading.Thread(target=beats)
    if alive:
        thread.start()
    try:
        if alive:
            with pytest.raises(RecipeError, match=r"another process is at work .*process 1 on elsewhere"):
                RunFolder(tmp_path)
        else:
            RunFolder(tmp_path).release()
    finally:
        ended.set()
        if alive:
            thread.join()
        there._ended.set()


def test_a_run_whose_folder_was_taken_over_writes_nothing_more(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "BEAT_S", 0.01)
    original = CropTrainer.compute_loss

    def taken(self, *arguments, **options):
        if self.state.global_step == 2:
            record = {"host": "elsewhere", "boot": "other", "pid": 1, "token": "other", "beat": 0}
            ownership.write_json(tmp_path / "run" / OWNER_FILE, record)
            until = time.monotonic() + 60
            while not self.check_folder.__self__._lost and time.monotonic() < until:
                time.sleep(0.01)
                if not self.check_folder.__self__._lost:
                    ownership.write_json(tmp_path / "run" / OWNER_FILE, record)
        return original(self, *arguments, **options)

    monkeypatch.setattr(CropTrainer, "compute_loss", taken)
    with pytest.raises(TrainingError, match=r"another process took over the run folder: .*process 1 on elsewhere"):
        train(small_recipe(tiny, tmp_path / "run", **STEPS), quiet=True)
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"checkpoint-2"}
    assert not (tmp_path / "run" / "train.json").exists()


def test_a_run_goes_on_only_with_the_recordings_and_classes_it_began_with(tiny, tmp_path):
    def permuted(stem, document, files):
        place = [2, 0, 1]
        document["categories"] = [{**category(place[i]), "id": i} for i in range(3)]
        for one in document["annotations"]:
            one["category_id"] = place.index(one["category_id"])

    def fewer(stem, document, files):
        document["annotations"].pop()
        document["audio"].pop()

    recipe = small_recipe(tiny, tmp_path / "run", **STEPS)
    cut_off(recipe, 3)
    before = contents(tmp_path / "run")
    for name, change in (("permuted", permuted), ("fewer", fewer)):
        (tmp_path / name).mkdir()
        source = write_source(tmp_path / name, change=change)
        with pytest.raises(RecipeError, match=r"train split has other (classes|recordings) than the run began with"):
            train(small_recipe(source, tmp_path / "run", **STEPS), resume=True, quiet=True)
    assert contents(tmp_path / "run") == before
    shutil.copytree(tiny, tmp_path / "moved")
    train(small_recipe(tmp_path / "moved", tmp_path / "run", **STEPS), resume=True, quiet=True)


def test_a_moved_run_goes_on_where_it_is(tiny, tmp_path):
    settings = {**STEPS, "validation_split": "validation", "config": {}}
    train(small_recipe(tiny, tmp_path / "whole", **settings), quiet=True)
    cut_off(small_recipe(tiny, tmp_path / "first", **settings), 7)
    shutil.move(tmp_path / "first", tmp_path / "second")
    cut_off(small_recipe(tiny, tmp_path / "first", **{**settings, "seed": 9}), 7)  # checkpoints of the same names
    train(small_recipe(tiny, tmp_path / "second", **settings), resume=True, quiet=True)
    assert equal(tmp_path / "whole", tmp_path / "second")
    first, second = (json.loads((tmp_path / name / "train.json").read_text()) for name in ("whole", "second"))
    assert first["history"] == second["history"]


def test_every_file_of_a_run_says_whose_it_is(tiny, tmp_path):
    cut_off(small_recipe(tiny, tmp_path, **STEPS), 5)
    run = json.loads((tmp_path / "origin.json").read_text())["run"]
    position = json.loads((tmp_path / "checkpoints" / "checkpoint-4" / "run.json").read_text())
    assert position == {
        "run": run, "step": 4, "epoch": 1, "recordings_of_epoch": 4, "recordings": 16, "recordings_per_step": 4,
        "recordings_per_epoch": 12, "processes": 1,
    }  # fmt: skip
    train(small_recipe(tiny, tmp_path, **STEPS), resume=True, quiet=True)
    told = json.loads((tmp_path / "train.json").read_text())
    assert (told["run"], told["checkpoint_sha256"]) == (run, checkpoint_digest(tmp_path))
    assert set(told["files"]) == {"recipe.yaml", "origin.json", "report.md", "curves.png"}


def test_a_copied_evaluation_is_nobody_elses(tiny, tmp_path, whole, capsys):
    """In card, comparison and what is pushed."""
    from hf_inatsounds.evaluation.comparison import compare
    from hf_inatsounds.publishing.model_hub import pushed_files
    from hf_inatsounds.reports.model_card import write_card

    mine = tmp_path / "mine"
    train(small_recipe(tiny, mine, seed=3, **STEPS), quiet=True)
    shutil.copytree(whole / "evaluation-test", mine / "evaluation-test")
    with pytest.raises(ScoresError, match=r"no results: .*results of another model in .*Run: hf-inatsounds evaluate"):
        write_card(mine)
    assert main(["evaluate", str(mine), "--source", str(tiny), "--split", "validation", "--no-report", "--quiet"]) == 0
    capsys.readouterr()
    text = write_card(mine).read_text()
    assert f"left out, since it is of another model than the one in {mine}: " in capsys.readouterr().err
    assert "validation split" in text
    assert "test split" not in text
    with pytest.raises(ScoresError, match=r"scores of another model than the one they lie with: .*evaluation-test"):
        compare([whole, mine], split="test")
    for name in ("recipe.yaml", "train.json"):
        shutil.copy(whole / name, mine / name)
    assert {name for name in pushed_files(mine) if name.endswith((".json", ".yaml"))} == {
        "config.json", "model.safetensors.index.json", "preprocessor_config.json", "label_space.json",
        "inatsounds.json", "evaluation-validation/results.json",
    }  # fmt: skip
    assert main(["evaluate", str(mine), "--source", str(tiny), "--out", str(tmp_path / "x"), "--no-report"]) == 0
    results = json.loads((tmp_path / "x" / "results.json").read_text())
    assert results["model"]["training"] is None  # train.json is the other run's
