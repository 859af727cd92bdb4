"""docs/own-annotations.md, on recordings as users have them: its script, then its commands."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile as sf

import hf_inatsounds as ins
from hf_inatsounds.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "own-annotations.md"


def test_the_page_makes_a_source_that_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recordings" / "night").mkdir(parents=True)
    lines = ["file,label,split"]
    for number in range(18):
        form, rate = [("wav", 22_050), ("flac", 48_000), ("ogg", 32_000)][number % 3]
        pitch, label = [(700, "Rana temporaria"), (2_500, "Parus major")][number % 2]
        wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(rate * 2) / rate) + 0.01 * np.random.default_rng(
            number
        ).standard_normal(rate * 2)
        sf.write(tmp_path / "recordings" / "night" / f"Aufnahme {number}.{form}", wave, rate)
        lines.append(f"night/Aufnahme {number}.{form},{label},{['train', 'train', 'val', 'test'][number // 2 % 4]}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    commands = re.search(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1].strip().splitlines()
    sf.write(tmp_path / "dawn.wav", wave, rate)
    for line in commands:
        words = line.split()[1:]
        words += ["--num_train_epochs", "2", "--quiet"] if words[0] == "train" else []
        assert main(words) in (0, None), line
        capsys.readouterr()
    rows = list(ins.load_dataset(split="train", source="mine"))
    assert {row["species"] for row in rows} == {"Rana temporaria", "Parus major"}
