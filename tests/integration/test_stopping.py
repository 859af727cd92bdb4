"""A run that is ended anywhere, on any number of processes, goes on to what an undisturbed one ends in."""

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from hf_inatsounds.errors import InterruptedRunError, StoppedError
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer
from hf_inatsounds.training.validation import Validator
from tests.helpers.forked import run_jobs
from tests.helpers.training import SETTINGS, equal, small_recipe

ROOT = Path(__file__).parents[2]
STEPS = 48  # four recordings each, three steps an epoch


def written(folder, name, source, **changes):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, "source": str(source), "output_dir": str(folder / name), **changes}))
    return str(path)


def recordings_by_step(folder):
    """Step → the recordings that counted in it, on all processes."""
    found = {}
    for path in folder.glob("*.jsonl"):
        for line in path.read_text().splitlines():
            step, ids = json.loads(line)
            found.setdefault(step, []).extend(ids)
    return {step: sorted(ids) for step, ids in found.items()}


@pytest.mark.timeout(1800)  # 25 s on a quiet machine, many times that on a busy one
def test_a_run_of_two_processes_goes_on_in_one_two_and_four(tiny, tmp_path):
    """One rank of two is told to end at step 38: both save; whoever goes on takes the recordings that are left."""
    begun = written(tmp_path, "begun", tiny, per_device_train_batch_size=2, num_train_epochs=16)
    alone = written(tmp_path, "alone", tiny, per_device_train_batch_size=4, num_train_epochs=16)
    for name in ("whole", "cut", "on-1", "on-2", "on-4"):
        (tmp_path / "logs" / name).mkdir(parents=True)

    def log(name):
        return {"log": str(tmp_path / "logs" / name)}

    first = run_jobs([
        {"processes": 2, "arguments": [begun, "--quiet"], "signal_at": [1, 38, "SIGTERM"], **log("cut")},
        {"processes": 1, "arguments": [alone, "--quiet"], **log("whole")},
    ])  # fmt: skip
    assert first[0]["codes"] == [143, 143], first[0]["said"]
    said = re.findall(r"^hf-inatsounds train: .*", first[0]["said"], re.MULTILINE)
    assert said == [f"hf-inatsounds train: stopped by SIGTERM: {tmp_path / 'begun'}. Go on from "
                    f"{tmp_path / 'begun' / 'checkpoints' / 'checkpoint-39'} with --resume."]  # fmt: skip
    assert first[1]["codes"] == [0], first[1]["said"]
    jobs = []
    for n in (1, 2, 4):
        shutil.copytree(tmp_path / "begun", tmp_path / f"on-{n}")
        arguments = [begun, "--resume", "--output_dir", str(tmp_path / f"on-{n}"), "--quiet"]
        jobs.append({"processes": n, "arguments": arguments, **log(f"on-{n}")})
    for job, done in zip(jobs, run_jobs(jobs), strict=True):
        assert done["codes"] == [0] * job["processes"], done["said"]
    whole, cut = (recordings_by_step(tmp_path / "logs" / name) for name in ("whole", "cut"))
    assert set(whole) == set(range(1, STEPS + 1))
    assert all(cut[step] == whole[step] for step in range(1, 40))
    assert max(cut) == 39
    for n in (1, 2, 4):
        resumed = recordings_by_step(tmp_path / "logs" / f"on-{n}")
        assert resumed == {step: whole[step] for step in range(40, STEPS + 1)}, n
        told = json.loads((tmp_path / f"on-{n}" / "train.json").read_text())
        assert (told["steps"], told["epochs"], told["processes"]) == (STEPS, 16.0, n)
        rates = [entry for entry in told["losses"] if entry[0] > 39]
        assert len(rates) == STEPS - 39


@pytest.mark.timeout(1800)
def test_a_kill_between_any_two_changes_of_files_loses_nothing(tiny, tmp_path):
    """With dropout, averaged weights, validations and an early stop: the very weights, history and choice."""
    settings = {
        "per_device_train_batch_size": 4, "num_train_epochs": 4, "save_steps": 2, "config": {"num_hidden_layers": 1,
        "hidden_size": 16,
        "num_attention_heads": 2, "intermediate_size": 16}, "ema_decay": 0.9, "validation_split": "validation",
        "early_stopping_patience": 2, "learning_rate": 1e-4,
    }  # fmt: skip
    recipe = written(tmp_path, "whole", tiny, **settings)

    def job(name, kill=None):
        out = str(tmp_path / name)
        killed = {} if kill is None else {"kill_at": kill, "within": out}
        return {"arguments": [recipe, "--output_dir", out, "--resume", "auto", "--quiet"], **killed}

    generator = random.Random(5)
    places = [0.001, *sorted(generator.uniform(0, 0.9) for _ in range(4)), 0.95, 1.0]
    pairs = [(job(f"at-{place}", place), job(f"at-{place}")) for place in places]
    whole, *done = run_jobs([job("whole", 0), *itertools.chain.from_iterable(pairs)])
    assert whole["codes"] == [0], whole["said"]
    expected = json.loads((tmp_path / "whole" / "train.json").read_text())
    for place, first, second in zip(places, done[::2], done[1::2], strict=True):
        assert first["codes"] == [-signal.SIGKILL], first["said"]
        finished = (tmp_path / f"at-{place}" / "train.json").exists()
        assert second["codes"] == [0] or (finished and "finished run" in second["said"]), second["said"]
        assert equal(tmp_path / "whole", tmp_path / f"at-{place}"), place
        found = json.loads((tmp_path / f"at-{place}" / "train.json").read_text())
        for key in ("history", "best", "final", "steps", "stopped_early", "epochs"):
            assert found[key] == expected[key], (place, key)


@pytest.mark.parametrize(("name", "error"), [("SIGTERM", StoppedError), ("SIGINT", InterruptedRunError)])
def test_a_signal_saves_and_ends_and_the_run_goes_on_to_the_same_weights(tiny, tmp_path, monkeypatch, name, error):
    settings = {"num_train_epochs": 4, "per_device_train_batch_size": 4, "config": {}, "dataloader_num_workers": 1}
    train(small_recipe(tiny, tmp_path / "whole", **settings), quiet=True)
    original = CropTrainer.compute_loss
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    def told(self, *arguments, **options):
        if self.state.global_step == 6:
            os.kill(os.getpid(), signal.Signals[name])
        return original(self, *arguments, **options)

    monkeypatch.setattr(CropTrainer, "compute_loss", told)
    recipe = small_recipe(tiny, tmp_path / "cut", **settings)
    with pytest.raises(error, match=rf"^stopped by {name}: .*Go on from .*checkpoint-7 with --resume\.$") as caught:
        train(recipe, quiet=True)
    assert caught.value.exit_code == 128 + signal.Signals[name]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    monkeypatch.undo()
    train(recipe, resume=True, quiet=True)
    assert equal(tmp_path / "whole", tmp_path / "cut")


def test_a_signal_in_a_validation_ends_at_once_and_the_validation_is_made_up_for(tiny, tmp_path, monkeypatch):
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "config": {}, "validation_split": "validation"}
    whole = train(small_recipe(tiny, tmp_path / "whole", **settings), quiet=True)
    for epoch in (1, 2):
        original, seen = Validator.__call__, []

        def told(self, epoch=epoch, original=original, seen=seen, **options):
            seen.append(1)
            if len(seen) == epoch:
                os.kill(os.getpid(), signal.SIGTERM)
                raise AssertionError("it went on")
            return original(self, **options)

        recipe = small_recipe(tiny, tmp_path / str(epoch), **settings)
        with monkeypatch.context() as patch:
            patch.setattr(Validator, "__call__", told)
            with pytest.raises(StoppedError, match=rf"Go on from .*checkpoint-{3 * epoch} with --resume"):
                train(recipe, quiet=True)
        resumed = train(recipe, resume=True, quiet=True)
        assert resumed["history"] == whole["history"]
        assert resumed["best"] == whole["best"]
        assert equal(tmp_path / "whole", tmp_path / str(epoch))


def test_a_second_signal_ends_at_once_and_one_to_the_whole_group_spares_the_workers(tiny, tmp_path):
    """As a scheduler's time limit and a terminal send it: to the main process and its loader's workers alike."""
    recipe = written(tmp_path, "run", tiny, num_train_epochs=2, per_device_train_batch_size=4)
    told = {"signal_at": [0, 2, "SIGTERM"], "arguments": [recipe, "--quiet"]}
    in_a_group = {
        **told,
        "arguments": [recipe, "--dataloader_num_workers", "2", "--resume", "auto", "--quiet"],
        "group": True,
    }
    jobs = [{**told, "twice": True}, in_a_group, {"arguments": [recipe, "--resume", "--quiet"]}]
    twice, group, then = run_jobs(jobs)
    assert twice["codes"] == [-signal.SIGTERM], twice["said"]
    assert group["codes"] == [143], group["said"]
    assert "checkpoint-2 with --resume" in group["said"]
    assert then["codes"] == [0], then["said"]


CONFIG = ROOT / "train" / "accelerate" / "two-cpu-processes.yaml"
ACCELERATE = ["-m", "accelerate.commands.launch", "--config_file", CONFIG, ROOT / "train" / "finetune.py"]
OURS = ["-m", "hf_inatsounds.cli.main", "train"]


def launched(launcher, recipe, *words, until=None, everyone=False):
    """Two processes of a launcher; SIGTERM once there is a file: to the launcher, or to its whole process group."""
    process = subprocess.Popen(
        [sys.executable, *launcher, recipe, *words, *(["--processes", "2"] if launcher is OURS else []), "--quiet"],
        cwd=ROOT, start_new_session=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        latest = time.monotonic() + 300
        while until is not None and not until.exists():
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < latest
            time.sleep(0.05)
        if until is not None:
            (os.killpg if everyone else os.kill)(process.pid, signal.SIGTERM)
        said = process.communicate(timeout=300)[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


@pytest.mark.timeout(1800)
def test_a_launcher_that_is_told_to_end_has_both_processes_save_and_the_run_goes_on(tiny, tmp_path):
    """As a scheduler ends a job. torchrun's agent, which accelerate starts, has no code but 1 for it."""
    settings = {"per_device_train_batch_size": 2, "num_train_epochs": 40, "save_steps": 20, "save_total_limit": 20}
    code, said = launched(OURS, written(tmp_path, "whole", tiny, **settings))
    assert code == 0, said
    cases = [("ours", OURS, False, 143), ("accelerate", ACCELERATE, False, 1), ("everyone", ACCELERATE, True, 1)]
    for name, launcher, everyone, expected in cases:
        recipe, saved = written(tmp_path, name, tiny, **settings), tmp_path / name / "checkpoints"
        code, said = launched(launcher, recipe, until=saved / "checkpoint-20" / "trainer_state.json", everyone=everyone)
        assert code == expected, said
        (told,) = re.findall(r"^hf-inatsounds train: (.*)", said, re.MULTILINE)
        last = max(int(path.name.split("-")[1]) for path in saved.glob("checkpoint-*"))
        assert told == f"stopped by SIGTERM: {tmp_path / name}. Go on from {saved}/checkpoint-{last} with --resume."
        assert 20 <= last < 120
        code, said = launched(launcher, recipe, "--resume")
        assert code == 0, said
        assert equal(tmp_path / "whole", tmp_path / name), name
