"""Do other versions of datasets read a mirror? Run by ``make environments``.

    python -m tests.environments.check_mirror PYTHON [PYTHON …]

Publishes the embedded archive to a Hub on loopback, and lets each PYTHON, whose environment has only datasets and
soundfile, load it from there and from the folder. Its rows must be those of the forward-only stream.

Then publishes a small archive with other settings to one repository again, ended before each of its commits in turn: at
every moment each PYTHON must see the mirror that was there or the new one, every recording once.
"""

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ASKED = ("all:train:streaming", "all:validation:prepared", "evaluation:train:prepared", "aves:test:streaming",
         "annotations:train:streaming")  # fmt: skip
SCRIPT = Path(__file__).with_name("mirror_rows.py")


def forward_rows(source: Path, name: str, split: str) -> dict:
    """recording id → row, as the forward-only stream has it; samples instead of audio."""
    import datasets
    import soundfile

    from hf_inatsounds.data.loading import open_dataset

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


def look_between_commits(pythons: list, hub: Any, folder: Path) -> None:
    from hf_inatsounds.publishing import hub as hub_module
    from hf_inatsounds.publishing.hub import HubTarget
    from hf_inatsounds.publishing.mirror import MirrorBuilder
    from hf_inatsounds.publishing.plan import MirrorSettings
    from tests.helpers.archive import write_source
    from tests.helpers.interruptions import interruptions
    from tests.helpers.plain_reader import plain_reader

    hub_module.OPERATIONS_A_COMMIT = 12  # of the Hub's 100, since the mirrors are small
    asked = [one for one in ASKED if not one.startswith("evaluation")]
    (folder / "small").mkdir()
    source, made = write_source(folder / "small"), {}
    for name, settings in (
        ("first", MirrorSettings(audio_format="wav", shard_bytes=400_000)),
        ("again", MirrorSettings(shard_bytes=60_000, seed=1)),
        ("birds", MirrorSettings(configs=("aves",))),
    ):
        made[name] = (folder / name, MirrorBuilder(str(source), folder / name, settings, quiet=True).build())

    def publish(name: str) -> None:
        target = HubTarget("me/again", quiet=True)
        target.open()
        target.upload(*made[name])

    publish("first")
    with contextlib.ExitStack() as stack:
        homes = [hub.environment(folder / f"reader-{i}") for i in range(len(pythons))]
        reads = [stack.enter_context(plain_reader(one, home)) for one, home in zip(pythons, homes, strict=True)]
        for before, then in (("first", "again"), ("again", "birds")):
            allowed = [
                [{one: read(place, one) for one in asked} for place in ("me/again", made[then][0])] for read in reads
            ]
            moments = 0
            for _ in interruptions(hub, "me/again", lambda then=then: publish(then)):
                moments += 1
                for python, read, sets in zip(pythons, reads, allowed, strict=True):
                    found = {one: read("me/again", one) for one in asked}
                    assert found in sets, f"{python}, {before} to {then}, moment {moments}: {found}"
                    rows = [answer for answer in found.values() if not isinstance(answer, str)]
                    assert all(rows), f"{python}: nothing is given"
                    assert all(len({one[0] for one in row}) == len(row) for row in rows), f"{python}: a recording twice"
            print(f"{before} to {then}: {moments} moments, each recording once in {', '.join(pythons)}", flush=True)


def main(pythons: list) -> None:
    from hf_inatsounds.quickstart import make_archives
    from tests.helpers.hub_server import hub_server

    with tempfile.TemporaryDirectory() as name, hub_server(Path(name, "hub")) as hub:
        folder = Path(name)
        source = make_archives(folder / "source")
        os.environ.update(hub.environment(folder / "home"))  # before huggingface_hub is imported
        environment = dict(os.environ)
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
        look_between_commits(pythons, hub, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
