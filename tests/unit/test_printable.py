"""Nothing that a terminal obeys, and nothing that its encoding lacks, gets out raw: whoever wrote the name."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_inatsounds import progress
from hf_inatsounds.cli.main import main
from hf_inatsounds.cli.output import show
from hf_inatsounds.errors import InatSoundsError
from tests.helpers.archive import document, pack

ROOT = Path(__file__).parents[2]
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r"
RAW = ("\x1b", "\x07", "\x9b", "\u202e", "\r")


@pytest.fixture
def evil(tmp_path):
    """A source whose every text is hostile, a stray member included."""
    found, files = document("train")
    names = {}
    for i, audio in enumerate(found["audio"]):
        content = files.pop(audio["file_name"])
        audio |= {"file_name": f"train/x{EVIL}/{i}.wav", "rights_holder": EVIL, "date": EVIL}
        names[audio["file_name"]] = content
    for category in found["categories"]:
        category |= {"supercategory": f"Aves{EVIL}", "common_name": EVIL, "name": f"{category['name']}{EVIL}"}
    found["info"] = {"description": f"made{EVIL}"}
    for one in found["licenses"]:
        one["name"] = f"by{EVIL}"
    names[f"train/stray{EVIL}.wav"] = b""
    names.pop(found["audio"][0]["file_name"])
    pack(tmp_path / "train.json.tar.gz", {"train.json": json.dumps(found).encode()})
    pack(tmp_path / "train.tar.gz", names)
    return tmp_path


@pytest.mark.parametrize("flags", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("command", ["annotations", "verify", "index", "publish"])
def test_no_command_prints_what_a_terminal_obeys(evil, tmp_path, capfd, command, flags):
    more = {"index": ["--out", str(tmp_path / "index")], "publish": ["--local-dir", str(tmp_path / "mirror")]}
    main([command, str(evil), *more.get(command, []), *flags])
    out, err = capfd.readouterr()
    for text in (out, err):
        shown = text.replace("\r", "") if text is err else text  # a bar goes back to its line's beginning
        assert not [one for one in RAW if one in shown]
    if flags and out:
        json.loads(out)


def test_notes_bars_and_errors_are_printable(capsys):
    progress.note(EVIL)
    bar = progress.Bar(EVIL)
    bar.start(3)
    bar.update(1, EVIL)
    bar.say(EVIL)
    bar.close()
    list(progress.track([1], EVIL))
    print(InatSoundsError(EVIL, where=EVIL, found=EVIL, expected=EVIL, fix=EVIL), file=sys.stderr)
    err = capsys.readouterr().err
    assert not [one for one in RAW[:-1] if one in err]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_what_stdout_cannot_encode_comes_out_escaped(monkeypatch, encoding):
    value = {"file": "日本\U0001f438č \udce9 \x7f"}
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, encoding=encoding, errors="backslashreplace"))
    show(value, "", as_json=True)
    show(value, value["file"], as_json=False)
    lines = buffer.getvalue().decode(encoding).splitlines()
    assert json.loads(lines[0]) == {"file": value["file"].replace("\udce9", r"\xe9")}
    assert "\x7f" not in lines[0] + lines[1]


def test_a_name_that_is_not_utf8_is_named_and_the_command_goes_on(tmp_path):
    found, files = document("train")
    pack(tmp_path / "train.json.tar.gz", {"train.json": json.dumps(found).encode()})
    pack(tmp_path / "train.tar.gz", {**files, os.fsdecode(b"train/m\xe9lodie.wav"): b"x"})
    for command in (["verify", tmp_path], ["index", tmp_path, "--out", tmp_path / "index"]):
        done = subprocess.run(
            [sys.executable, "-m", "hf_inatsounds.cli.main", *map(str, command), "--quiet"], cwd=ROOT,
            capture_output=True, text=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}, timeout=300,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        if command[0] == "verify":
            assert r"m\xe9lodie" in done.stdout
        else:
            assert done.returncode == 0
