"""Processes that wait for each other: for hours without harm, and with one line when one of them is gone."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from hf_inatsounds.training.arguments import recipe_yaml
from tests.helpers.training import small_recipe

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 10

WAITING = """
import os, signal, sys, time
from pathlib import Path
import torch
from hf_inatsounds.data.builder import INatSounds
from hf_inatsounds.errors import TrainingError
from hf_inatsounds.runtime.launched import Launched
from hf_inatsounds.runtime.launching import is_first_to_tell
from hf_inatsounds.training.arguments import read_recipe
from hf_inatsounds.training.run import train

rank, folder = int(os.environ["RANK"]), Path(sys.argv[2])
recipe = read_recipe(sys.argv[1])
original = INatSounds._generate_tables
def slow(self, *arguments, **options):
    with open(folder / "prepared", "a") as file:
        file.write(f"{rank}\\n")
    time.sleep(3 * recipe.training.ddp_timeout)
    yield from original(self, *arguments, **options)
INatSounds._generate_tables = slow
(folder / f"ready-{rank}").touch()
while len(list(folder.glob("ready-*"))) < 2:  # imports take unequal times, and joining the group has its time-out too
    time.sleep(0.1)
found = train(recipe, quiet=True)
print(rank, "trained", found["steps"], flush=True)

launched = Launched("cpu")
try:
    with launched.waiting_for("the gradients of step 7"):
        if rank == 0:
            torch.distributed.all_reduce(torch.zeros(1))  # with a process that does not come
    print(rank, "nothing waited for", flush=True)
except TrainingError as error:
    print(rank, error, flush=True)
if rank == 1:
    os.kill(os.getpid(), signal.SIGKILL)
try:
    launched.wait("the second process")
except TrainingError as error:
    print(rank, error, flush=True)
print(rank, "tells:", is_first_to_tell(), is_first_to_tell(), flush=True)  # of several that fail alike the first to ask
os._exit(0)
"""


def test_a_preparation_of_three_time_outs_a_late_process_and_a_killed_one(tiny, tmp_path):
    """In one start of two processes, since each start takes seconds."""
    (tmp_path / "waiting.py").write_text(WAITING)
    recipe = small_recipe(
        tiny, tmp_path / "run", per_device_train_batch_size=4, num_train_epochs=1, ddp_timeout=TIMEOUT_S
    )
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(recipe))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                  "MASTER_PORT": str(free.getsockname()[1]), "HF_DATASETS_CACHE": str(tmp_path / "cache")}  # fmt: skip
    command = [sys.executable, tmp_path / "waiting.py", tmp_path / "recipe.yaml", tmp_path]
    first, second = (
        subprocess.Popen(
            command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in range(2)
    )  # fmt: skip
    out, errors = first.communicate(timeout=400)
    others = second.communicate(timeout=60)
    assert first.returncode == 0, errors + others[1]
    assert second.returncode == -signal.SIGKILL
    assert len((tmp_path / "prepared").read_text().split()) == 1  # one prepared, the other found it
    trained, late, gone, told = out.strip().splitlines()
    assert trained == "0 trained 2"
    assert "waited for the gradients of step 7" in late
    assert f"process 1 of 2 is gone (pid {second.pid} on {socket.gethostname()})" in gone
    assert told == "0 tells: True False"
    assert "waited for the second process" in gone


def test_a_killed_process_ends_all_within_a_minute_with_one_line_that_names_it(tiny, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        recipe_yaml(small_recipe(tiny, tmp_path / "run", per_device_train_batch_size=2, num_train_epochs=100_000))
    )
    command = [sys.executable, "-m", "hf_inatsounds.cli.main", "train", path, "--quiet", "--processes", "2"]
    launcher = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 300
    while not (tmp_path / "run" / "origin.json").exists() or not list((tmp_path / "run").rglob("trainer_state.json")):
        assert launcher.poll() is None, launcher.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.2)
    children = [int(pid) for pid in Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()]
    (victim,) = [pid for pid in children if b"\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_bytes()]
    os.kill(victim, signal.SIGKILL)
    _, errors = launcher.communicate(timeout=60)
    assert launcher.returncode == 1
    said = [line for line in errors.splitlines() if "hf-inatsounds" in line]
    assert len(said) == 1, errors
    assert "process 1 of 2 was killed by SIGKILL (signal 9)" in said[0]
    assert "Traceback" not in errors
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
