"""Plain ``datasets`` in a process of its own, asked again and again: starting one takes seconds."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "environments/mirror_rows.py"

Answer = str | list[tuple[int, str | None]]
"""Recording ids and audio paths, sorted; or why nothing is given."""


@contextlib.contextmanager
def plain_reader(python: str, environment: dict[str, str]) -> Iterator[Callable[[object, str], Answer]]:
    """``read(place, "all:train:streaming")`` of a Python that has ``datasets`` and soundfile."""
    process = subprocess.Popen(
        [python, str(SCRIPT), "--serve"], env={**os.environ, **environment}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def read(place: object, asked: str) -> Answer:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{place} {asked}\n")
        process.stdin.flush()
        line = process.stdout.readline()
        assert line, f"the reader ended at {place} {asked}"
        found = json.loads(line)
        return found if isinstance(found, str) else [tuple(one) for one in found]

    with process:
        try:
            yield read
        finally:
            process.kill()
