"""However the main process ends, nothing that it started is left, and what it began can be gone on with."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from hf_inatsounds import evaluate
from hf_inatsounds.errors import InatSoundsError
from hf_inatsounds.runtime.alone import alone_in
from tests.helpers.training import SETTINGS
from tests.integration.test_evaluation import classifier_for

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc, to find processes by")

MARK = "INATSOUNDS_TEST_MARK"


def marked(mark):
    """Processes that have the mark in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def killed(words, number, ready):
    """Run the command, send the main process a signal when it is ready, and see what is left ten seconds later."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "hf_inatsounds.cli.main", *words]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    until = time.monotonic() + 120
    while not ready(mark):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(60)
    until = time.monotonic() + 10
    while left := marked(mark):
        if time.monotonic() > until:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            return left
        time.sleep(0.1)
    return []


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    classifier_for(tiny).save(path)
    return path


@pytest.fixture(scope="module")
def whole(tiny, checkpoint, tmp_path_factory):
    return evaluate(checkpoint, tiny, out=tmp_path_factory.mktemp("whole"), stride_s=0.05, quiet=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_an_evaluation_leaves_no_process_and_is_gone_on_with(tiny, checkpoint, whole, tmp_path, number):
    out = tmp_path / "out"
    words = ["evaluate", checkpoint, "--source", tiny, "--out", out, "--processes", "2", "--no-report", "--quiet",
             "--stride", "0.05"]  # fmt: skip
    assert killed(list(map(str, words)), number, lambda mark: len(marked(mark)) >= 3) == []
    results = evaluate(checkpoint, tiny, out=out, stride_s=0.05, quiet=True)
    assert results["metrics"] == whole["metrics"]
    assert results["dataset"]["recordings"] == 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_of_two_processes_leaves_none(tiny, tmp_path, number):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("".join(f"{key}: {value}\n" for key, value in SETTINGS.items()))
    run = tmp_path / "run"
    words = ["train", recipe, "--source", tiny, "--output_dir", run, "--num_train_epochs", "500", "--processes", "2",
             "--dataloader_num_workers", "1"]  # fmt: skip
    assert killed(list(map(str, words)), number, lambda mark: (run / "recipe.yaml").exists()) == []


def test_nobody_scores_beside_what_a_killed_evaluation_left(tiny, checkpoint, whole, tmp_path, monkeypatch):
    """Stopped processes cannot notice that they are orphans; woken, they would write scores of other windows."""
    out, mark = tmp_path / "out", uuid.uuid4().hex
    words = ["evaluate", checkpoint, "--source", tiny, "--out", out, "--processes", "2", "--no-report", "--quiet",
             "--stride", "0.1"]  # fmt: skip
    command = [sys.executable, "-m", "hf_inatsounds.cli.main", *map(str, words)]
    main = subprocess.Popen(command, env={**os.environ, MARK: mark, "OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 120
    while len(marked(mark)) < 3:
        assert main.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    children = [pid for pid in marked(mark) if pid != main.pid]
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    main.kill()
    main.wait(10)
    try:
        with monkeypatch.context() as patch:
            patch.setattr("hf_inatsounds.evaluation.run.alone_in", functools.partial(alone_in, wait_s=0.5))
            with pytest.raises(InatSoundsError, match="another process is at work"):
                evaluate(checkpoint, tiny, out=out, stride_s=0.05, quiet=True)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGCONT)
    assert evaluate(checkpoint, tiny, out=out, stride_s=0.05, quiet=True)["metrics"] == whole["metrics"]
    assert marked(mark) == []
