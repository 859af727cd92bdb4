"""Runs in processes of their own, forked from one that has imported everything: a start costs no 8 seconds.

``python -m tests.helpers.forked`` reads a list of jobs as JSON from stdin and does one after the other. A job has
``arguments`` of ``train`` and a number of ``processes``; what is done to it on the way:

- ``signal_at``: [rank, step, name of the signal]: this rank gets it at the beginning of that step's first pass;
  with ``twice`` it gets another one, and with ``group`` its loader's workers get it too.
- ``kill_at``: SIGKILL at so large a share of the changes that an undisturbed run makes to its folder (``within``), as
  they were counted in the last job that had ``kill_at`` 0.
- ``log``: a folder to which each rank writes the recordings that count, a line a step.

For each job it prints a line of JSON: the processes' exit codes (minus the signal's number where one ended it) and
what was said on stderr.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_jobs(jobs: list[dict[str, Any]], timeout_s: float = 900) -> list[dict[str, Any]]:
    """Do the jobs in a process that has neither trained nor started threads."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.helpers.forked"], input=json.dumps(jobs), capture_output=True, text=True,
        cwd=ROOT, timeout=timeout_s, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _do(job: dict[str, Any]) -> dict[str, Any]:
    n, port = job.get("processes", 1), _free_port()
    children = []
    with tempfile.TemporaryFile("w+") as said:
        for rank in range(n):
            child = os.fork()
            if not child:
                os.dup2(said.fileno(), 2)
                os.dup2(said.fileno(), 1)
                code = 1
                try:
                    if n > 1:
                        os.environ.update(
                            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(n), LOCAL_WORLD_SIZE=str(n),
                            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                        )  # fmt: skip
                    code = _train(job, rank)
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        said.seek(0)
        return {"codes": codes, "said": said.read()}


def _train(job: dict[str, Any], rank: int) -> int:
    from hf_inatsounds.cli.main import main
    from hf_inatsounds.training.trainer import CropTrainer

    if job.get("group"):
        os.setpgrp()  # of its own, apart from who asked
    original, passes = CropTrainer.compute_loss, {"step": -1}

    def watched(self: Any, model: Any, inputs: Any, *arguments: Any, **options: Any) -> Any:
        step = self.state.global_step + 1
        if step != passes["step"] and job.get("signal_at", [None])[:2] == [rank, step]:
            for _ in range(2 if job.get("twice") else 1):
                send, to = (os.killpg, os.getpgrp()) if job.get("group") else (os.kill, os.getpid())
                send(to, signal.Signals[job["signal_at"][2]])
        passes["step"] = step
        if "log" in job:
            a_row = len(inputs["weights"]) // len(inputs["inspections"])
            counted = zip(inputs["inspections"], inputs["weights"][::a_row].tolist(), strict=True)
            ids = [one.recording_id for one, counts in counted if counts]
            with open(Path(job["log"]) / f"{rank}.jsonl", "a", encoding="utf-8") as log:
                log.write(json.dumps([step, ids]) + "\n")
        return original(self, model, inputs, *arguments, **options)

    CropTrainer.compute_loss = watched  # type: ignore[method-assign]
    made = {"n": 0}
    if "kill_at" in job and rank == 0:
        _kill_at(max(round(job["kill_at"] * job["changes"]), 1) if job["kill_at"] else 0, job["within"], made)
    try:
        return main(["train", *job["arguments"]])
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        print(f"changes: {made['n']}", file=sys.stderr)


def _kill_at(change: int, within: str, made: dict[str, int]) -> None:
    """End the process before its so manieth change within a folder; 0 for never."""
    import torch

    def counted(function: Any, place: int) -> Any:
        def called(*arguments: Any, **options: Any) -> Any:
            changed = str(arguments[place])
            if changed.startswith(within) and not changed.endswith(".owner.json"):  # written as time passes
                made["n"] += 1
                if made["n"] == change:
                    os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return called

    os.replace = counted(os.replace, 1)
    os.mkdir = counted(os.mkdir, 0)
    shutil.rmtree = counted(shutil.rmtree, 0)  # type: ignore[assignment]
    torch.save = counted(torch.save, 1)


if __name__ == "__main__":
    import hf_inatsounds.training.run  # noqa: F401  # what the forked processes would each import

    changes = 0
    for one in json.load(sys.stdin):
        done = _do({**one, "changes": changes})
        if one.get("kill_at") == 0:
            changes = int(done["said"].rsplit("changes: ", 1)[1])
        print(json.dumps(done), flush=True)
