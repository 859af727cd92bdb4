"""One at a time in a folder, with the processes that it started."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hf_inatsounds.errors import InatSoundsError
from hf_inatsounds.runtime import alone
from hf_inatsounds.runtime.alone import LOCK_FILE, alone_in

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such locks")
ROOT = Path(__file__).parents[2]

STARTS_ANOTHER = """
import multiprocessing, os, pathlib, sys, time
from hf_inatsounds.runtime.alone import alone_in

def holding(hold, folder):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    with alone_in(folder) as hold:
        multiprocessing.get_context("spawn").Process(target=holding, args=(hold, folder)).start()
        time.sleep(60)
"""


def test_who_comes_second_is_told_who_is_there_and_gets_in_afterwards(tmp_path):
    folder = tmp_path / "new" / "folder"
    with (
        alone_in(folder),
        pytest.raises(InatSoundsError, match=rf"at work in this folder: .*{folder}.*process {os.getpid()} on"),
        alone_in(folder, wait_s=0.2),
    ):
        pass
    with alone_in(folder, wait_s=0.2):
        assert (folder / LOCK_FILE).exists()
    assert list(folder.iterdir()) == []


def test_who_comes_second_waits_for_the_first_to_go(tmp_path):
    inside, order = threading.Event(), []

    def first():
        with alone_in(tmp_path):
            inside.set()
            threading.Event().wait(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with alone_in(tmp_path, wait_s=30):  # its file was removed and made anew meanwhile
        order.append("second")
        with pytest.raises(InatSoundsError), alone_in(tmp_path, wait_s=0):
            pass
    thread.join()
    assert order == ["first", "second"]


def test_a_process_that_was_started_within_holds_it_when_the_first_one_is_killed(tmp_path):
    (tmp_path / "starts.py").write_text(STARTS_ANOTHER)
    folder = tmp_path / "folder"
    main = subprocess.Popen(
        [sys.executable, tmp_path / "starts.py", folder], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    child = int(main.stdout.readline())
    try:
        main.kill()
        main.wait(10)
        with pytest.raises(InatSoundsError, match=f"process {main.pid} on"), alone_in(folder, wait_s=0.3):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
    with alone_in(folder):
        pass
    assert list(folder.iterdir()) == []


def test_a_disk_without_locks_is_said_and_worked_on(tmp_path, monkeypatch, capsys):
    def none_here(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(alone.fcntl, "flock", none_here)
    with alone_in(tmp_path) as hold:
        assert hold.number is None
    assert "has no locks" in capsys.readouterr().err
