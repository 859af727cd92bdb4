"""Every option of every command with values that make no sense: exit code 2, one line, nothing written, no traceback.

The parser itself is walked, so that an option which comes later is tried too.
"""

import argparse
import re

import numpy as np
import pytest

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main, parser
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from tests.helpers import suites as make
from tests.helpers.archive import wav

HUGE = str(10**30)
SENSELESS = ("-1", "nan", "inf", "-inf", "1e308", HUGE, "", " ", "x", "1,x", "٣x", "9" * 5_000)
"""Of every number."""
EMPTY = ("", " ", "a\0b")
"""Of every text."""
ZERO_IS_LEGAL = {
    "--seed", "--random-init", "--min-score", "--channel", "--geo-threshold", "--geo-weight", "--bootstrap", "--wait",
}  # fmt: skip
NUMBERS = {
    "--batch-size", "--bootstrap", "--channel", "--geo-threshold", "--geo-weight", "--jobs", "--min-score",
    "--processes", "--random-init", "--resamples", "--seed", "--seeds", "--shard-mb", "--shots", "--stride", "--top",
    "--wait", "--window", "--workers",
}  # fmt: skip
LARGE = {"--batch-size": "65536", "--top": "1000000", "--resamples": "2000", "--channel": "65535", "--jobs": "8",
         "--seed": str(2**32 - 1), "--window": "600"}  # fmt: skip
"""Large and legal: taken, and no more work or memory than there are recordings for."""

OUTPUTS = {"--out", "--local-dir", "--work-dir", "--cache"}

COMMANDS = next(one for one in parser()._actions if isinstance(one, argparse._SubParsersAction)).choices
OPTIONS = [
    (command, action)
    for command, sub in COMMANDS.items()
    for action in sub._actions
    if action.nargs not in (0, argparse.REMAINDER)
]


def flag(action):
    return action.option_strings[-1] if action.option_strings else action.dest


def ids(one):
    return one if isinstance(one, str) else flag(one)


def shown(action):
    """As the message has it."""
    return flag(action) if action.option_strings else action.metavar or action.dest


@pytest.fixture(scope="module")
def work(tiny, tmp_path_factory):
    """A checkpoint, a recording and a suite, all small."""
    folder = tmp_path_factory.mktemp("arguments")
    space = split_info(str(tiny), "all", "train").label_space
    build_classifier("ast-tiny", space, Multiclass(), window=WindowSpec(1.0, 0.5)).save(folder / "model")
    (folder / "a.wav").write_bytes(wav(np.random.default_rng(0).standard_normal(30_000) * 0.1))
    make.esc10(folder / "suite", per_fold=1)
    return folder


def words(command, work, tiny, **changed):
    """A command line that works, with some of its values changed; ``changed`` by destination."""
    model, source = str(work / "model"), str(tiny)
    base = {
        "quickstart": {},
        "annotations": {"source": source},
        "verify": {"source": source, "split": "train"},
        "publish": {"source": source, "repo_id": None, "local_dir": "out"},
        "index": {"source": source, "out": "out", "split": "test"},
        "train": {"recipe": "none.yaml"},
        "recipes": {"copy": "ast-tiny.yaml", "out": "r.yaml"},
        "evaluate": {"model": model, "source": source, "out": "out", "resamples": "2"},
        "benchmark": {"model": model, "suite": "esc10", "data": str(work / "suite"), "out": "out", "cache": "cache",
                      "bootstrap": "2", "protocol": "few-shot", "shots": "1", "seeds": "1"},
        "compare": {"runs": model},
        "export": {"source": source, "out": "out", "split": "test"},
        "geo-prior": {"source": source, "out": "p.safetensors"},
        "push": {"run_dir": model, "repo_id": "me/model"},
        "card": {"run_dir": model},
        "predict": {"model": model, "files": str(work / "a.wav"), "out": "out.csv"},
        "embed": {"model": model, "files": str(work / "a.wav"), "out": "out.parquet"},
    }[command]  # fmt: skip
    values = {**base, **changed}
    if "repo_id" in changed:
        values.pop("local_dir", None)
    made, positional = [command], []
    for action in COMMANDS[command]._actions:
        value = values.get(action.dest)
        if value is None:
            continue
        if action.option_strings:
            made.append(f"{flag(action)}={value}")
        else:
            positional.append(value)
    made += ["--no-report"] if command == "evaluate" else []
    return [*made, "--quiet", *(["--"] if any(one.startswith("-") for one in positional) else []), *positional]


def refused(argv, capsys, where, folder):
    """Exit code 2, one line that names the argument, and nothing written."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    said = capsys.readouterr()
    lines = said.err.strip().splitlines()
    assert (caught.value.code, said.out, len(lines)) == (2, "", 1), (argv, said)
    assert re.match(rf"hf-inatsounds {argv[0]}: error: argument .*{re.escape(where)}", lines[0]), lines
    assert "usage:" not in lines[0]
    assert len(lines[0]) < 400
    assert not list(folder.iterdir()), argv


def test_every_option_has_a_type_or_choices():
    assert [f"{command} {flag(action)}" for command, action in OPTIONS if not (action.type or action.choices)] == []
    there = {flag(action) for _, action in OPTIONS}
    assert there >= NUMBERS
    for command, action in OPTIONS:
        takes_numbers = action.type is not None and action.type.__qualname__.startswith(("number", "whole_number"))
        assert takes_numbers == (flag(action) in NUMBERS), f"{command} {flag(action)}"


@pytest.mark.parametrize(("command", "action"), OPTIONS, ids=ids)
def test_senseless_values_are_refused_before_anything_is_read(
    work, tiny, tmp_path, monkeypatch, capsys, command, action
):
    monkeypatch.chdir(tmp_path)
    values = EMPTY
    if flag(action) in NUMBERS:
        values = [*SENSELESS, *([] if flag(action) in ZERO_IS_LEGAL else ["0"])]
    elif action.choices or flag(action) in ("--device", "repo_id"):
        values = [*SENSELESS, "0"]
    for value in values:
        refused(words(command, work, tiny, **{action.dest: value}), capsys, shown(action), tmp_path)


@pytest.mark.parametrize(("command", "action"), [one for one in OPTIONS if flag(one[1]) in OUTPUTS], ids=ids)
def test_outputs_that_cannot_be_are_refused_before_the_work(work, tiny, tmp_path, monkeypatch, capsys, command, action):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "file.safetensors").write_text("kept")
    (tmp_path / "folder.safetensors").mkdir()
    wanted_file = action.type.__name__ in ("output_file", "prior_file")
    wrong = "../folder.safetensors" if wanted_file else "../file.safetensors"
    for value in (wrong, "../file.safetensors/x.safetensors", "../file.safetensors/x/y.safetensors", "é" * 200):
        refused(words(command, work, tiny, **{action.dest: value}), capsys, flag(action), tmp_path / "here")
    assert (tmp_path / "file.safetensors").read_text() == "kept"


EXECUTED = [one for one in OPTIONS if one[0] not in ("quickstart", "publish", "push")]
"""Those that some seconds are enough for, and that ask no Hub."""


@pytest.mark.parametrize(("command", "action"), EXECUTED, ids=ids)
def test_values_that_may_make_sense_end_in_a_result_or_a_line(
    work, tiny, tmp_path, monkeypatch, capsys, command, action
):
    monkeypatch.chdir(tmp_path)
    if flag(action) in NUMBERS:
        values = [LARGE[flag(action)]] if flag(action) in LARGE else []
        values += ["0"] if flag(action) in ZERO_IS_LEGAL else []
    elif action.choices or flag(action) == "--device":
        values = []
    else:
        values = ["0", "nan", "m\udce9lodie", "日本"] if command != "benchmark" else ["m\udce9lodie"]
    for value in values:
        argv = words(command, work, tiny, **{action.dest: value})
        try:
            code = main(argv)
        except SystemExit as left:
            code = left.code
        said = capsys.readouterr()
        assert code in (0, 1, 2), argv
        assert code == 0 or len(said.err.strip().splitlines()) == 1, (argv, said.err)
        said.err.encode()


def test_combinations_that_do_not_go_together_are_wrong_arguments(work, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    suite = {"protocol": "linear-probe"}
    for argv, message in (
        (words("predict", work, tiny, stride="2", window="1"), "bad window: --window, --stride"),
        (words("evaluate", work, tiny, stride="2"), "bad window: --window, --stride"),
        (words("embed", work, tiny, stride="2"), "bad window: --window, --stride"),
        (words("predict", work, tiny, format="parquet", out=None), "Parquet does not go to a terminal"),
        (words("compare", work, tiny), "nothing to compare"),
        (words("benchmark", work, tiny, names="n.csv", **suite), "--names is for zero-shot"),
        (words("benchmark", work, tiny, recipe="r.yaml", **suite), "--recipe is for fine-tune"),
        (words("benchmark", work, tiny, subset="HSN"), "a suite of one data set"),
    ):
        assert main(argv) == 2, argv
        said = capsys.readouterr()
        assert message in said.err
        assert len(said.err.strip().splitlines()) == 1
        assert said.out == ""
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argv", [[], ["nothing"], ["predict"], ["verify", "a", "b"], ["card", "a", "--epcohs", "3"]])
def test_what_is_missing_or_unknown_is_told_in_one_line(capsys, argv):
    with pytest.raises(SystemExit) as caught:
        main(argv)
    lines = capsys.readouterr().err.strip().splitlines()
    assert (caught.value.code, len(lines)) == (2, 1)
    command = f" {argv[0]}" if argv[:1] not in ([], ["nothing"]) else ""
    assert lines[0].startswith(f"hf-inatsounds{command}: error: ")


@pytest.mark.parametrize("count", ["0", "-1", "nan", "", "x", HUGE, "1000000", None])
def test_processes_of_train_are_a_number_that_a_machine_can_do_with(tmp_path, monkeypatch, capsys, count):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "recipe.yaml", "--processes", *([] if count is None else [count])]) == 2
    assert capsys.readouterr().err.startswith("hf-inatsounds train: bad value: --processes: found ")
