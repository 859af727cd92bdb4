"""Do other versions of datasets read a mirror? Run by ``make environments``.

    python -m tests.environments.check_mirror PYTHON [PYTHON …]

Publishes the embedded archive to a Hub on loopback, and lets each PYTHON, whose environment has only datasets and
soundfile, load it from there and from the folder. Its rows must be those of the forward-only stream.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ASKED = ("all:train:streaming", "all:validation:prepared", "evaluation:train:prepared", "aves:test:streaming",
         "annotations:train:streaming")  # fmt: skip
SCRIPT = Path(__file__).with_name("mirror_rows.py")


def forward_rows(source: Path, name: str, split: str) -> dict:
    """recording id → row, as the forward-only stream has it; samples instead of audio."""
    import datasets
    import soundfile

    from hf_inatsounds.builder import open_dataset

    rows = open_dataset(name, split, source=source, streaming=True)
    if name != "annotations":
        rows = rows.cast_column("audio", datasets.Audio(decode=False))
    found = {}
    for row in rows:
        if name != "annotations":
            samples = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="int16")[0]
            row["audio"] = hashlib.sha256(samples.tobytes()).hexdigest()
        if row.get("defect") not in ("empty", "unreadable"):  # those are in no shard
            found[row["recording_id"]] = row
    return found


def mirror_rows(python: str, place: object, environment: dict, asked: tuple) -> list:
    command = [python, str(SCRIPT), str(place), *asked]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{python}: {done.stderr[-2000:]}")
    return [{row["recording_id"]: row for row in json.loads(line)} for line in done.stdout.splitlines()]


def main(pythons: list) -> None:
    from hf_inatsounds.embedded import make_archives
    from tests.helpers.hub_server import hub_server

    with tempfile.TemporaryDirectory() as name, hub_server(Path(name, "hub")) as hub:
        folder = Path(name)
        source = make_archives(folder / "source")
        environment = {**os.environ, **hub.environment(folder / "home")}
        command = [sys.executable, "-m", "hf_inatsounds.cli.main", "publish", str(source), "me/sounds", "--quiet"]
        subprocess.run([*command, "--work-dir", str(folder / "mirror")], env=environment, check=True)
        expected = [forward_rows(source, *one.split(":")[:2]) for one in ASKED]
        for python in pythons:
            for place in (folder / "mirror", "me/sounds"):
                home = str(folder / f"home-{len(list(folder.iterdir()))}")  # an empty cache each
                found = mirror_rows(python, place, {**environment, "HF_HOME": home}, ASKED)
                for rows in found:
                    for row in rows.values():
                        row.update({"audio": row["audio"][2]} if "audio" in row else {})
                assert found == expected, f"{python}, {place}: other rows than the forward-only stream"
                Path(home).mkdir(exist_ok=True)
                print(f"{python}, {place}: {sum(map(len, found))} rows as in the forward-only stream", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
