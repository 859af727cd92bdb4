"""Many files: which are meant, what is kept of them, and that an interrupted run ends in the bytes of a whole one."""

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import torch

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.inference.files import chosen_files, recordings_below
from hf_inatsounds.models.classifier import Classifier, build_classifier
from hf_inatsounds.objectives import objective_of
from tests.helpers.archive import SPECIES, category
from tests.helpers.odd_recordings import odd_recordings

COMMANDS = {"predict": "out.csv", "embed": "out.parquet"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    space = LabelSpace.from_categories([category(i) for i in range(len(SPECIES))])
    objective = objective_of("single_label_classification")
    build_classifier("ast-tiny", space, objective, window=WindowSpec(1.0, 1.0)).save(folder)
    return folder


@pytest.fixture
def card(tmp_path):
    """A recorder's card as it comes out of a Mac: names in capitals, files of no sound, a bin, one broken file."""
    folder = tmp_path / "card"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 48_000 * 3)
    for i in range(8):
        path = folder / f"site{i % 2}" / f"20250503_0313{i:02}.WAV"
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(path, np.roll(noise, 1000 * i)[: 48_000 * (1 + i % 3)], 48_000)
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
    (folder / "site0" / "20250503_031399.WAV").write_bytes(b"RIFF")
    (folder / ".Trashes").mkdir()
    sf.write(folder / ".Trashes" / "old.wav", noise, 48_000)
    (folder / "CONFIG.TXT").write_text("Sample rate: 48000")
    return folder


@pytest.fixture
def forward_passes(monkeypatch):
    """The waveforms that a classifier was given, in this process."""
    seen = []
    for name in ("logits", "features"):
        whole = getattr(Classifier, name)

        def counted(self, windows, *rest, whole=whole, **options):
            seen.extend(windows)
            return whole(self, windows, *rest, **options)

        monkeypatch.setattr(Classifier, name, counted)
    return seen


def test_files_are_named_in_every_way(tmp_path, card, monkeypatch):
    names = [str(card / "site0" / f"20250503_0313{i:02}.WAV") for i in (0, 2, 4, 6, 99)]
    assert recordings_below(card)[:5] == names
    assert len(recordings_below(card)) == 9
    assert (
        chosen_files([f"{card}/site0/*.WAV", str(card / "site0")]) == chosen_files([f"{card}/*0/*[0-9].WAV"]) == names
    )
    assert chosen_files([f"{card}/**/*9.WAV"]) == names[4:]
    odd = tmp_path / os.fsdecode(b"m\xe9l [1]\n=x.wav")
    odd.write_bytes(b"")
    assert chosen_files([str(odd)]) == [str(odd)]  # a pattern by its looks, and a file
    (tmp_path / "nul").write_bytes(os.fsencode(odd) + b"\0" + os.fsencode(names[1]) + b"\0")
    (tmp_path / "lines").write_text(f"{names[1]}\r\n\n{card / 'site1'}\n")
    assert chosen_files([], [str(tmp_path / "nul")]) == [str(odd), names[1]]
    assert chosen_files(names[:1], [str(tmp_path / "lines")])[:2] == names[:2]
    assert len(chosen_files(names[:1], [str(tmp_path / "lines")])) == 6
    (tmp_path / "empty").mkdir()
    for wrong in (["predict", "m"], ["predict", "m", str(tmp_path / "empty")], ["predict", "m", f"{card}/*.mp3"]):
        assert main([*wrong, "--quiet"]) == 2
    assert main(["embed", "m", "--files-from", str(tmp_path / "none"), "--out", str(tmp_path / "o")]) == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_only_new_changed_and_failed_files_are_done_again(command, model, card, tmp_path, forward_passes, capsys):
    out = tmp_path / COMMANDS[command]
    words = [command, str(model), str(card), "--out", str(out)]
    assert main(words) == 1  # one of them is broken
    first, windows = out.read_bytes(), len(forward_passes)
    assert windows == sum(1 + i % 3 for i in range(8))
    assert "20250503_031399.WAV" in capsys.readouterr().err
    out.unlink()
    forward_passes.clear()
    assert main(words) == 1
    assert not forward_passes
    told = capsys.readouterr().err
    assert "8 of 9 files were done before" in told
    assert "20250503_031399.WAV" in told  # said again: the result is as incomplete as it was
    assert out.read_bytes() == first

    changed = card / "site1" / "20250503_031301.WAV"  # 2 s
    sf.write(changed, np.random.default_rng(1).uniform(-1, 1, 48_000 * 2), 48_000)
    sf.write(card / "site0" / "20250503_031399.WAV", np.random.default_rng(2).uniform(-1, 1, 48_000), 48_000)
    sf.write(card / "site1" / "new.flac", np.random.default_rng(3).uniform(-1, 1, 48_000), 48_000)
    assert main(words) == 0
    assert len(forward_passes) == 4
    again = tmp_path / f"again.{out.name}"
    assert main([*words[:-1], str(again)]) == 0
    assert out.read_bytes() == again.read_bytes() != first

    forward_passes.clear()
    assert main([*words, "--window", "30"]) == 1  # more than the model hears, and nothing is done
    assert main(words) == 0
    assert not forward_passes
    assert main([*words, "--stride", "0.5"]) == 0
    assert len(forward_passes) > windows
    assert "changed since the last run: window; 10 recordings are done again" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_other_weights_make_other_results(command, model, card, tmp_path, forward_passes):
    copy = tmp_path / "model"
    for path in model.iterdir():
        (copy / path.name).parent.mkdir(exist_ok=True)
        (copy / path.name).write_bytes(path.read_bytes())
    words = [command, str(copy), str(card / "site1"), "--out", str(tmp_path / COMMANDS[command]), "--quiet"]
    assert main(words) == 0
    forward_passes.clear()
    assert main([words[0], str(model), *words[2:]]) == 0  # the same content in another place
    assert not forward_passes
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2:] = b"\x80\x3e"  # the last weight, 0.25 or so
    weights.write_bytes(content)
    assert main(words) == 0
    assert forward_passes


def test_what_is_there_stays_where_nothing_is_heard_and_where_the_disk_is_no_journal(model, card, tmp_path, capsys):
    out = tmp_path / "out.csv"
    words = ["predict", str(model), str(card / "site1"), "--out", str(out), "--quiet"]
    assert main(words) == 0
    before = out.read_bytes()
    broken = str(card / "site0" / "20250503_031399.WAV")
    assert main(["predict", str(model), broken, "--out", str(out), "--quiet"]) == 1
    assert out.read_bytes() == before
    assert main(["predict", str(model), broken, "--out", str(tmp_path / "none.csv"), "--quiet"]) == 1
    assert not list(tmp_path.glob("none*"))  # nor a journal of nothing
    journal = tmp_path / "out.csv.journal" / "results.sqlite"
    journal.write_bytes(b"no database at all" * 100)
    capsys.readouterr()
    assert main(words) == 1
    assert f"{journal}: found file is not a database" in capsys.readouterr().err
    assert out.read_bytes() == before
    assert [path.name for path in journal.parent.iterdir()] == [journal.name]  # no lock is left


def started(words):
    return subprocess.Popen([sys.executable, "-m", "hf_inatsounds.cli.main", *words], stderr=subprocess.DEVNULL)


def entered(journal):
    """How many recordings a journal has, also while it is written."""
    try:
        with sqlite3.connect(f"file:{journal}?mode=ro", uri=True) as connection:
            return connection.execute("select count(*) from files").fetchone()[0]
    except sqlite3.Error:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_again_and_again_it_ends_in_the_same_bytes(command, model, card, tmp_path):
    seconds = np.random.default_rng(4).uniform(-0.5, 0.5, 16_000 * 30)
    for i in range(40):
        sf.write(card / "site1" / f"more{i:02}.wav", np.roll(seconds, i * 10_000), 16_000)
    out, whole = tmp_path / "killed" / COMMANDS[command], tmp_path / "whole" / COMMANDS[command]
    words = [command, str(model), str(card), "--quiet", "--stride", "0.25", "--out"]
    assert started([*words, str(whole)]).wait() == 1
    journal, draw = Path(f"{out}.journal") / "results.sqlite", random.Random(0)
    counts = [0]
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        process = started([*words, str(out)])
        until = time.monotonic() + 120
        while entered(journal) <= counts[-1] and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.3))  # anywhere within a file
        process.send_signal(number)
        assert process.wait() != 0
        assert not out.exists()
        counts.append(entered(journal))
    assert 0 < counts[1] < counts[2] < counts[3] < 48
    assert started([*words, str(out)]).wait() == 1
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in out.parent.iterdir()) == [out.name, f"{out.name}.journal"]


def test_the_table_of_files_has_all_of_them(model, tmp_path, capsys):
    for name, (content, _) in odd_recordings().items():
        (tmp_path / f"={name}.wav").write_bytes(content)
    sf.write(tmp_path / "two.wav", np.random.default_rng(0).uniform(-0.5, 0.5, (22_050, 2)), 22_050)
    words = ["predict", str(model), str(tmp_path), "--json", "--quiet", "--files-table"]
    main([*words, str(tmp_path / "files.csv")])
    told = json.loads(capsys.readouterr().out)["files"]
    with open(tmp_path / "files.csv", newline="") as stream:
        rows = {row["file"]: row for row in csv.DictReader(stream)}
    assert list(rows) == list(told)
    assert {file: row["status"] for file, row in rows.items()} == {file: one["status"] for file, one in told.items()}
    assert {row["status"] for row in rows.values()} == {"ok", "partial", "failed"}
    for file, row in rows.items():
        assert float(row["heard_s"]) == told[file]["heard_s"]
        assert int(row["windows"]) == told[file]["windows"]
        assert all(part in row["notes"] for part in told[file]["notes"])
    main([*words, str(tmp_path / "files.parquet"), "--out", str(tmp_path / "out.csv")])
    table = pq.read_table(tmp_path / "files.parquet")
    assert table["heard_s"].to_pylist() == [one["heard_s"] for one in told.values()]
    assert table["channels"].to_pylist() == [int(row["channels"]) for row in rows.values()]
    assert table["channels"].to_pylist()[-1] == 2


def test_raven_counts_the_seconds_of_files_without_detections(model, card, tmp_path):
    sf.write(card / "site0" / "silence.WAV", np.zeros(48_000 * 7), 48_000)  # silence: no species
    rows = {}
    for out in (None, str(tmp_path / "out.txt")):
        command = [sys.executable, "-m", "hf_inatsounds.cli.main", "predict", str(model), str(card), "--quiet"]
        done = subprocess.run(
            [*command, "--format", "raven", *(["--out", out] if out else [])],
            capture_output=True,
            text=True,
            check=False,
        )
        rows[out] = Path(out).read_text() if out else done.stdout
    first, second = rows.values()
    assert first == second
    begins = {}
    for row in csv.DictReader(first.splitlines(), delimiter="\t"):
        begins.setdefault(row["Begin File"], float(row["Begin Time (s)"]))
    expected, total = {}, 0.0
    for path in recordings_below(card):
        length = sf.info(path).duration if Path(path).stat().st_size > 4 else 0.0
        if length and "silence" not in path:
            expected[Path(path).name] = total
        total += length
    assert begins == pytest.approx(expected)


def test_predicting_imports_neither_datasets_nor_pandas(model, card):
    """Of the time that a start takes; torch and transformers are needed."""
    code = (
        "import sys; from hf_inatsounds.cli.main import main; code = main(sys.argv[1:]); "
        "print({'datasets', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    words = ["predict", str(model), str(card / "site1"), "--quiet"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr == "set()\n"
