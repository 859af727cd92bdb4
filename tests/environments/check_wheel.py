"""The wheel alone, outside any checkout: with all libraries, and with those of the data part.

    python -m tests.environments.check_wheel WHEEL FOLDER

No library is installed for it: one environment sees those of the running Python, the other those but what has to do
with models.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

MODELS = (
    "torch", "torchgen", "functorch", "transformers", "tokenizers", "safetensors", "accelerate", "evaluate",
    "audiomentations", "librosa", "numba", "llvmlite", "sklearn", "scikit_learn", "scipy", "matplotlib", "peft", "timm",
    "tensorboard", "torchdata", "torchmetrics", "torchaudio", "torchvision", "torchcodec",
)  # fmt: skip
DATA_PART = """
import importlib.util
from pathlib import Path
import datasets
import hf_inatsounds as ins
from hf_inatsounds.cli.main import main

assert importlib.util.find_spec("torch") is None and importlib.util.find_spec("transformers") is None
archives = ins.make_archives("archives")
streamed = [row["recording_id"] for row in ins.load_dataset(split="test", source=archives)]
assert main(["index", str(archives), "--out", "index", "--quiet"]) == 0
shuffled = ins.load_dataset(split="test", source=archives, index="index").shuffle(seed=0)
assert sorted(row["recording_id"] for row in shuffled) == sorted(streamed)
assert main(["annotations", str(archives)]) == 0
assert main(["verify", str(archives), "--quiet"]) == 0
assert main(["publish", str(archives), "--local-dir", "mirror", "--workers", "1", "--quiet"]) == 0
mirror = datasets.load_dataset("mirror", "all", split="test", streaming=True)
mirror = mirror.cast_column("audio", datasets.Audio(decode=False))
assert sorted(row["recording_id"] for row in mirror) == sorted(streamed)
assert main(["recipes"]) == 0
assert main(["train", "ast-tiny.yaml"]) == 1
"""


def main(wheel: Path, folder: Path) -> None:
    """Make both environments, and use them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    libraries = Path(sysconfig.get_path("purelib"))
    whole = environment(folder / "whole", wheel, libraries)
    outside = folder / "outside"
    outside.mkdir()
    run([whole / "hf-inatsounds", "--version"], outside)
    where = run([whole / "python", "-c", "import hf_inatsounds; print(hf_inatsounds.__file__)"], outside)
    assert str(folder) in where, f"not the wheel's: {where}"
    made = run([whole / "hf-inatsounds", "quickstart", "--out", "quickstart", "--quiet"], outside)
    following = [line.strip() for line in made.partition("try next:")[2].splitlines() if line.strip()]
    assert len(following) == 4, made
    long = next((outside / "quickstart").rglob("*.wav"), None)
    for line in following:
        words = [str(long) if word == "YOUR_RECORDING.wav" else word for word in shlex.split(line)]
        words += ["--max_steps", "2"] if words[1] == "train" else []
        run([whole / words[0], *words[1:], "--quiet"], outside)
    run([
        whole / "python", "-m", "accelerate.commands.launch", "--num_processes", "2", "--cpu",
        "-m", "hf_inatsounds.scripts.finetune", "ast-tiny.yaml", "--source", "quickstart/archives",
        "--output_dir", "launched", "--max_steps", "2", "--quiet",
    ], outside)  # fmt: skip

    only_data = folder / "libraries"
    only_data.mkdir()
    for path in libraries.iterdir():
        name = path.name.partition("-")[0].partition(".")[0].lower()
        if name not in MODELS and "hf_inatsounds" not in path.name:
            (only_data / path.name).symlink_to(path)
    data = environment(folder / "data", wheel, only_data)
    second = folder / "data-part"
    second.mkdir()
    told = run([data / "python", "-c", DATA_PART], second)
    assert "pip install 'hf-inatsounds[models]'" in told, told


def environment(folder: Path, wheel: Path, libraries: Path) -> Path:
    """A virtual environment with the wheel, whose libraries lie elsewhere; returns its folder of programs."""
    venv.create(folder, with_pip=False)
    programs = folder / "bin"
    site = next((folder / "lib").glob("python*/site-packages"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(folder)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    (site / "libraries.pth").write_text(f"{libraries}\n")
    return programs


def run(words: list[str | Path], folder: Path) -> str:
    """What a command prints on both streams; it has to succeed, and finds no checkout."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [str(word) for word in words], cwd=folder, env={**environment, "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout}"
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
