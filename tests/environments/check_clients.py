"""Do plain clients get through every recording? Run by ``make clients``.

    python -m tests.environments.check_clients PYTHON [PYTHON …]

Makes a source with every odd recording of ``tests.helpers.odd_recordings`` in it, its index and its mirror, and lets
each PYTHON pass over them, once with the FFmpeg that PyAV's wheel brings in that environment (torchcodec loads it by
``LD_LIBRARY_PATH``; nothing is installed into the system), once without.
"""

import glob
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("plain_clients.py")
FFMPEG = ("avcodec", "avdevice", "avfilter", "avformat", "avutil", "swresample", "swscale")


def make_source(folder: Path) -> Path:
    from tests.helpers.archive import write_source
    from tests.helpers.odd_recordings import odd_recordings

    odd = [content for content, _ in odd_recordings().values()]

    def plant(stem, document, files):
        """As many odd recordings as there are, beside the whole ones; what is left over goes into validation."""
        half = len(odd) // 2
        chosen = {"train": odd[:half], "val": odd[half:]}.get(stem, [])
        for number, content in enumerate(chosen):
            model = document["audio"][0]
            name = model["file_name"].rsplit("/", 1)[0] + f"/odd{number:05d}.wav"
            new_id = 10_000 * (1 + ["train", "val"].index(stem)) + number
            document["audio"].append({**model, "id": new_id, "file_name": name})
            document["annotations"].append({"id": new_id, "audio_id": new_id, "category_id": 0})
            files[name] = content

    folder.mkdir()
    return write_source(folder, change=plant)


def expected_counts(source: Path) -> dict:
    """split → defect → recordings, by what was planted."""
    from tests.helpers.archive import COUNTS
    from tests.helpers.odd_recordings import odd_recordings

    odd = [defect for _, defect in odd_recordings().values()]
    half = len(odd) // 2
    found = {}
    for split, stem, defects in (("train", "train", odd[:half]), ("validation", "val", odd[half:])):
        found[split] = Counter(defect or "whole" for defect in defects)
        found[split]["whole"] += sum(COUNTS[stem])
    return found


def ffmpeg_folder(python: str) -> str | None:
    """PyAV's libraries under the names that torchcodec asks the loader for; None where it is not installed."""
    folders = glob.glob(str(Path(python).absolute().parent.parent / "lib" / "*" / "site-packages" / "av.libs"))
    for folder in folders:
        for name in FFMPEG:
            for library in Path(folder).glob(f"lib{name}-*.so.*"):
                link = Path(folder, f"lib{name}.so.{library.name.split('.so.')[1].split('.')[0]}")
                if not link.is_symlink():
                    link.symlink_to(library.name)
    return folders[0] if folders else None


def check(found: dict, expected: dict) -> None:
    for name, counts in found["passes"].items():
        split, what = name.split(": ")
        of_split = dict(expected[split])
        if what.startswith("mirror"):
            of_split = {kind: n for kind, n in of_split.items() if kind not in ("empty", "unreadable")}
        if isinstance(counts, int):
            assert counts == sum(of_split.values()), (name, counts, of_split)
        else:
            assert counts == of_split, (name, counts, of_split)
    assert found["readme_examples"] >= 3, "README's examples are gone"


def main(pythons: list) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = make_source(folder / "source")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        environment.pop("LD_LIBRARY_PATH", None)
        cli = [sys.executable, "-m", "hf_inatsounds.cli.main"]
        quiet = {"env": environment, "check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([*cli, "index", str(source), "--out", str(folder / "index"), "--quiet"], **quiet)
        subprocess.run([*cli, "publish", str(source), "--local-dir", str(folder / "mirror"), "--quiet"], **quiet)
        expected = expected_counts(source)
        for python in pythons:
            libraries = ffmpeg_folder(python)
            for path in (libraries, None) if libraries else (None,):
                home = {"HF_HOME": str(folder / f"home-{len(list(folder.iterdir()))}")}
                more = {"LD_LIBRARY_PATH": path} if path else {}
                places = [str(one) for one in (source, folder / "index", folder / "mirror", ROOT / "README.md")]
                done = subprocess.run(
                    [os.path.abspath(python), str(SCRIPT), *places],
                    env={**environment, **home, **more}, capture_output=True, text=True, check=False, cwd=folder,
                )  # fmt: skip
                if done.returncode:
                    sys.exit(f"{python}, FFmpeg {path}: {done.stderr[-3000:]}")
                found = json.loads(done.stdout.splitlines()[-1])
                check(found, expected)
                Path(home["HF_HOME"]).mkdir(exist_ok=True)
                decoder = "decoded" if found["decodes"] else "encoded"
                if path and not found["decodes"]:
                    sys.exit(f"{python}: torchcodec does not load with the FFmpeg in {path}")
                print(
                    f"datasets {found['datasets']}, torchcodec {found['torchcodec']}, audio {decoder}: "
                    f"{len(found['passes'])} whole passes, {found['readme_examples']} examples of the README",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:])
