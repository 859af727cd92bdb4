"""Processes of a pool end with what started them, whatever either is doing."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_inatsounds.runtime.pool import processes

ROOT = Path(__file__).parents[2]

STARTING = """
import sys, time
from hf_inatsounds.runtime.pool import processes

if __name__ == "__main__":
    from slow_to_import import begin
    with processes(1, begin) as pool:
        pool.submit(abs, -1)
        print("begun", flush=True)
        time.sleep(60)
"""
SLOW_TO_IMPORT = """
import os, pathlib, sys, time

if "--multiprocessing-fork" in sys.orig_argv:  # in the process of the pool
    pathlib.Path(__file__).with_name("pid").write_text(str(os.getpid()))
    time.sleep(60)

def begin():
    pass
"""


def nap(started, seconds):
    """A job that leaves its process's number."""
    (started / str(os.getpid())).touch()
    time.sleep(seconds)


def wait_for(what, seconds=30):
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def is_gone(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_is_raised_inside_ends_the_processes_in_the_midst_of_their_jobs(tmp_path, error):
    with pytest.raises(error), processes(2) as pool:  # noqa: PT012  # it is the end of the block that is tested
        for _ in range(20):
            pool.submit(nap, tmp_path, 60)
        wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        begun = time.monotonic()
        raise error
    assert time.monotonic() - begun < 10
    assert all(is_gone(int(path.name)) for path in tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 2


def test_without_an_error_all_jobs_are_finished(tmp_path):
    with processes(2) as pool:
        jobs = [pool.submit(nap, tmp_path, 0.05) for _ in range(20)]
    assert all(job.done() and job.exception() is None for job in jobs)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_process_that_still_imports_ends_with_the_main_process(tmp_path, number):
    """The imports of torch and transformers take longer than anybody waits for an end."""
    (tmp_path / "starting.py").write_text(STARTING)
    (tmp_path / "slow_to_import.py").write_text(SLOW_TO_IMPORT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    main = subprocess.Popen([sys.executable, tmp_path / "starting.py"], env=environment, stdout=subprocess.PIPE)
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    child = int(pid.read_text())
    assert child != main.pid
    try:
        main.send_signal(number)
        main.wait(10)
        wait_for(lambda: is_gone(child), 10)
    finally:
        main.kill()
        if not is_gone(child):
            os.kill(child, signal.SIGKILL)
