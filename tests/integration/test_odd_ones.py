"""One odd thing among several is named, and the others have their results; the exit code is 1."""

import csv
import gzip
import io
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile as sf

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main
from hf_inatsounds.downstream import benchmark as benchmarks
from hf_inatsounds.downstream.suites import load_suite
from hf_inatsounds.errors import AudioError, SuiteError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from tests.helpers import suites as make
from tests.helpers.archive import tone, wav

ODD_NAME = os.fsdecode(b"m\xe9lodie.wav")
ESCAPED = r"m\xe9lodie.wav"
HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tSpecies\n"


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    space = split_info(str(tiny), "all", "train").label_space
    build_classifier("ast-tiny", space, Multiclass(), window=WindowSpec(1.0, 0.5)).save(folder)
    return folder


@pytest.fixture
def evaluated(model, tiny, tmp_path):
    """Three runs: checkpoints of one model, each evaluated."""
    runs = [tmp_path / f"run-{i}" for i in range(3)]
    shutil.copytree(model, runs[0])
    words = ["--source", str(tiny), "--resamples", "5", "--no-report", "--quiet"]
    for split in ("test", "validation"):
        assert main(["evaluate", str(runs[0]), "--split", split, *words]) == 0
    for run in runs[1:]:
        shutil.copytree(runs[0], run)
    return [str(run) for run in runs]


def run(capsys, *words, code=1):
    """JSON of stdout, and lines of stderr."""
    left = main([*map(str, words), "--json", "--quiet"])
    said = capsys.readouterr()
    assert left == code, said.err
    assert said.out, said.err
    return json.loads(said.out), said.err.splitlines()


def recording(path, seconds=2.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav(tone(2_000.0, seconds, 0)))


def raven_table(folder, stem, label="Rana una"):
    (folder / f"{stem}.Table.1.selections.txt").write_text(f"{HEAD}1\tSpectrogram 1\t1\t0.0\t5.0\t100\t5000\t{label}\n")


def test_a_split_whose_annotations_are_damaged_is_named_by_annotations_and_verify(tiny, tmp_path, capsys):
    shutil.copytree(tiny, tmp_path / "source")
    (tmp_path / "source" / "val.json.tar.gz").write_bytes(gzip.compress(b"<html>"))
    found, lines = run(capsys, "annotations", tmp_path / "source")
    assert list(found["splits"]) == ["train", "test"]
    assert list(found["failed"]) == ["validation"]
    assert len(lines) == 1
    assert "val.json.tar.gz" in lines[0]
    found, lines = run(capsys, "verify", tmp_path / "source")
    assert list(found["splits"]) == ["train", "validation", "test"]
    assert [problem for problem in found["problems"] if "val.json.tar.gz" not in problem] == []
    assert main(["annotations", str(tmp_path / "source"), "--split", "validation"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_archive_that_cannot_be_indexed_is_named_and_the_others_are_indexed(tiny, tmp_path, capsys):
    shutil.copytree(tiny, tmp_path / "source")
    (tmp_path / "source" / "val.tar.gz").write_bytes(b"no gzip at all")
    found, lines = run(capsys, "index", tmp_path / "source", "--out", tmp_path / "index")
    assert [one["split"] for one in found] == ["train", "test"]
    assert len(lines) == 1
    assert "val.tar.gz" in lines[0]


def test_a_run_without_scores_is_named_and_the_others_are_compared(evaluated, tmp_path, capsys):
    first, second, third = evaluated
    (Path(second) / "evaluation-test" / "scores.json").write_text("{")
    found, lines = run(capsys, "compare", first, second, third)
    assert [Path(one["folder"]).parent.name for one in found["runs"]] == ["run-0", "run-2"]
    assert list(found["failed"]) == [second]
    assert len(lines) == 1
    assert "run-1" in lines[0]
    found, lines = run(capsys, "compare", second, first, tmp_path / "none", third)
    assert len(found["runs"]) == len(lines) == 2
    assert main(["compare", first, second]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_evaluation_that_cannot_be_read_is_named_and_the_card_has_the_others(evaluated, capsys):
    run_dir = Path(evaluated[0])
    (run_dir / "evaluation-test" / "results.json").write_text("{")
    found, lines = run(capsys, "card", run_dir)
    assert list(found["failed"]) == [str(run_dir / "evaluation-test" / "results.json")]
    assert len(lines) == 1
    assert "validation" in (run_dir / "README.md").read_text()
    (run_dir / "evaluation-validation" / "results.json").write_text("{}")
    assert main(["card", str(run_dir)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


BENCHMARK = ["--protocol", "few-shot", "--shots", "1", "--seeds", "1", "--bootstrap", "0"]


def test_a_data_set_that_cannot_be_read_is_named_and_the_others_are_benchmarked(model, tmp_path, capsys):
    for subset in ("HSN", "NBP", "SSW"):
        make.birdset(tmp_path / "birdset", subset)
    (tmp_path / "birdset" / "NBP" / "NBP_metadata_test_5s.parquet").write_bytes(b"PAR1")
    words = ["benchmark", model, "--suite", "birdset", "--data", tmp_path / "birdset", "--cache", tmp_path / "cache"]
    found, lines = run(capsys, *words, "--out", tmp_path / "out", *BENCHMARK)
    assert list(found["tasks"]) == ["HSN", "SSW"]
    assert list(found["left_out"]) == ["NBP"]
    assert len(lines) == 1
    assert "NBP" in lines[0]
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == found
    assert main([*map(str, words), "--subset", "NBP", *BENCHMARK, "--quiet"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_data_set_that_fails_on_the_way_is_named_and_the_others_are_benchmarked(model, tmp_path, monkeypatch, capsys):
    for subset in ("HSN", "NBP", "SSW"):
        make.birdset(tmp_path / "birdset", subset)
    few_shot = benchmarks.RUN["few-shot"]

    def fail(job, fold):
        if job.task.name == "NBP":
            raise AudioError("nothing of a clip can be heard", where="NBP/a.ogg")
        return few_shot(job, fold)

    monkeypatch.setitem(benchmarks.RUN, "few-shot", fail)
    words = ["benchmark", model, "--suite", "birdset", "--data", tmp_path / "birdset", "--cache", tmp_path / "cache"]
    found, lines = run(capsys, *words, "--out", tmp_path / "out", *BENCHMARK)
    assert list(found["tasks"]) == ["HSN", "SSW"]
    assert found["left_out"] == {"NBP": "nothing of a clip can be heard: NBP/a.ogg"}
    assert lines == ["hf-inatsounds benchmark: nothing of a clip can be heard: NBP/a.ogg"]


def test_recordings_of_any_suffix_are_read_or_named(tmp_path):
    forms = {"a.wav": ("WAV", "PCM_16", 22_050), "b.aif": ("AIFF", "PCM_16", 22_050), "d.opus": ("OGG", "OPUS", 48_000),
             "e.w64": ("W64", "PCM_16", 22_050), "f.oga": ("OGG", "VORBIS", 22_050), "g": ("WAV", "PCM_16", 22_050),
             "k.2024": ("WAV", "PCM_16", 22_050), "l.rec": ("FLAC", "PCM_16", 22_050)}  # fmt: skip
    for name, (form, subtype, rate) in forms.items():
        sf.write(tmp_path / name, np.zeros(10 * rate), rate, format=form, subtype=subtype)
        raven_table(tmp_path, name if name == "k.2024" else name.partition(".")[0])
    (tmp_path / "l.Table.1.selections.txt").unlink()
    (tmp_path / "l.txt").write_text("0.5\t1.5\tRana una\n")
    (tmp_path / "h.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(200))
    raven_table(tmp_path, "h")
    raven_table(tmp_path, "lost")
    for name in ("README", "README.txt", "notes.pdf", "notes.txt"):
        (tmp_path / name).write_text("recorded with care\n")
    suite = load_suite("folder", tmp_path)
    task = suite.tasks[0]
    assert {Path(str(clip.audio)).name for clip in task.clips} == set(forms)
    assert {Path(name).name for name in suite.left_out} == {"h.m4a", "lost.Table.1.selections.txt"}
    assert all(any(name in note for note in task.notes) for name in suite.left_out)


def test_a_table_belongs_to_the_recording_whose_whole_name_it_carries(tmp_path):
    for name, label in (("site1", "Day"), ("site1.night", "Night"), ("site2", "Day"), ("site2.night", "Night")):
        sf.write(tmp_path / f"{name}.wav", np.zeros(220_500), 22_050)
        raven_table(tmp_path, name, label)
    (tmp_path / "site2.selections.txt").write_text((tmp_path / "site2.Table.1.selections.txt").read_text())
    for clip in (task := load_suite("folder", tmp_path).tasks[0]).clips:
        right = ("Night" if "night" in str(clip.audio) else "Day",) if clip.start_s < 5 else ()
        assert tuple(task.classes[i] for i in clip.labels) == right
    (tmp_path / "site1.night.wav").unlink()  # its table is nobody's now, least of all site1's
    suite = load_suite("folder", tmp_path)
    (name,) = suite.left_out
    assert name.endswith("site1.night.Table.1.selections.txt")
    (tmp_path / "site1.Table.1.selections.txt").unlink()
    with pytest.raises(SuiteError, match=r"a recording without annotations: .*site1\.wav"):
        load_suite("folder", tmp_path)


def test_recordings_that_cannot_be_read_are_left_out_of_a_folder_of_whole_ones(model, tmp_path, capsys):
    names = [f"{part}-{i}.wav" for part in ("a", "b") for i in range(3)]
    for name in names:
        recording(tmp_path / "data" / name, 1.0)
    (tmp_path / "data" / "a-0.wav").write_bytes(b"RIFF")
    rows = [[name, name[0], "train" if name.endswith("2.wav") else "test"] for name in names]
    make.write_csv(tmp_path / "data" / "annotations.csv", ["file", "label", "split"], rows)
    words = ["benchmark", model, "--suite", "folder", "--data", tmp_path / "data", "--cache", tmp_path / "cache"]
    found, lines = run(capsys, *words, "--out", tmp_path / "out", *BENCHMARK)
    assert found["tasks"]["data"]["clips"] == 5
    assert [Path(name).name for name in found["left_out"]] == ["a-0.wav"]
    assert len(lines) == 1
    shutil.copytree(tmp_path / "data", tmp_path / "unreadable")
    for name in names:
        (tmp_path / "unreadable" / name).write_bytes(b"RIFF")
    with pytest.raises(AudioError):
        load_suite("folder", tmp_path / "unreadable")


@pytest.mark.parametrize("form", ["csv", "raven", "audacity", "parquet"])
def test_a_name_that_is_not_utf8_is_escaped_in_each_format(model, tmp_path, monkeypatch, capsys, form):
    monkeypatch.chdir(tmp_path)
    files = ["a.wav", ODD_NAME, "none.wav", ESCAPED, "z.wav"]
    kind = {"csv": "FLAC", "raven": "OGG", "audacity": "MP3", "parquet": "WAV"}[form]  # whatever the suffix says
    for name in files:
        if name != "none.wav":
            content = io.BytesIO()
            sf.write(content, tone(2_000.0, 1.0, 0), 22_050, format=kind)
            Path(name).write_bytes(content.getvalue())
    found, lines = run(capsys, "predict", model, *files, "--format", form, "--out", f"{ODD_NAME}.{form}")
    escaped = ["a.wav", ESCAPED, "none.wav", r"m\x5cxe9lodie.wav", "z.wav"]
    assert list(found["files"]) == escaped
    assert found["failed"] == ["none.wav"]
    assert len(lines) == 1
    assert "none.wav" in lines[0]
    path = Path(f"{ODD_NAME}.{form}")
    heard = [name for name in escaped if name != "none.wav"]
    if form == "parquet":
        with open(path, "rb") as stream:
            assert pq.read_table(stream)["file"].to_pylist() == heard
    elif form != "audacity":
        rows = list(csv.DictReader(io.StringIO(path.read_text()), delimiter="\t" if form == "raven" else ","))
        assert [row["file" if form == "csv" else "Begin File"] for row in rows] == heard
    back = [re_encoded(name) for name in heard]
    assert back == [os.fsencode(name) for name in files if name != "none.wav"]


def re_encoded(name):
    """The bytes of an escaped name."""
    parts = name.encode().split(b"\\x")
    return parts[0] + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in parts[1:])


def test_embed_and_benchmark_take_names_that_are_not_utf8(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", ODD_NAME, "c.wav"):
        recording(tmp_path / "data" / name, 10.0)
        raven_table(tmp_path / "data", Path(name).stem, "Rana una" if name == "a.wav" else "Turdus duo")
    files = sorted((tmp_path / "data").glob("*.wav"))
    found, _ = run(capsys, "embed", model, *files, "--out", f"{ODD_NAME}.parquet", code=0)
    assert [Path(name).name for name in found["files"]] == ["a.wav", "c.wav", ESCAPED]
    with open(f"{ODD_NAME}.parquet", "rb") as stream:
        assert {Path(name).name for name in pq.read_table(stream)["file"].to_pylist()} == {"a.wav", "c.wav", ESCAPED}
    (tmp_path / "data" / os.fsdecode(b"\xe8.m4a")).write_bytes(b"nothing")
    raven_table(tmp_path / "data", os.fsdecode(b"\xe8"))
    found, lines = run(
        capsys, "benchmark", model, "--suite", "folder", "--data", "data", "--out", "out", "--cache", "cache",
        "--protocol", "linear-probe", "--bootstrap", "0",
    )  # fmt: skip
    assert found["tasks"]["data"]["clips"] == 6
    (left_out,) = found["left_out"]
    assert left_out.endswith(r"\xe8.m4a")
    assert len(lines) == 1
    assert json.loads(Path("out/results.json").read_text()) == found


def test_models_and_sources_in_folders_that_are_not_utf8_are_read_or_refused_in_a_line(
    model, tiny, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"f\xf4lder")
    shutil.copytree(model, f"{odd}/model")
    shutil.copytree(tiny, f"{odd}/source")
    recording(Path(f"{odd}/a.wav"), 1.0)
    for words in (
        ["annotations", f"{odd}/source"],
        ["verify", f"{odd}/source"],
        ["index", f"{odd}/source", "--out", "index"],
        ["geo-prior", f"{odd}/source", "--out", "p.safetensors"],
        ["evaluate", str(model), "--source", f"{odd}/source", "--out", "e", "--resamples", "2"],
        ["publish", f"{odd}/source", "--local-dir", "mirror", "--split", "test", "--workers", "1"],
        ["predict", f"{odd}/model", f"{odd}/a.wav"],
        ["embed", f"{odd}/model", f"{odd}/a.wav", "--out", f"{odd}/e.parquet"],
        ["card", f"{odd}/model"],
        ["compare", f"{odd}/model", f"{odd}/model"],
    ):
        code = main([*words, "--quiet"])
        said = capsys.readouterr()
        assert code in (0, 1)
        assert code == 0 or len(said.err.splitlines()) == 1, (words, said.err)
        (said.out + said.err).encode()


def test_a_name_that_the_terminal_lacks_is_escaped_and_the_rest_goes_on(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "日本čuk.wav", "z.wav"):
        recording(Path(name), 1.0)
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="cp1252"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding="cp1252"))
    assert main(["predict", str(model), "a.wav", "日本čuk.wav", "日本.wav", "z.wav", "--quiet"]) == 1
    sys.stdout.flush()
    sys.stderr.flush()
    files = [row["file"] for row in csv.DictReader(io.StringIO(out.getvalue().decode("cp1252")))]
    assert files == ["a.wav", r"\u65e5\u672c\u010duk.wav", "z.wav"]
    assert rb"\u65e5\u672c.wav" in err.getvalue()


def test_a_raven_table_places_each_selection_for_other_programs(model, tmp_path, monkeypatch, capsys):
    """What crowsetta and opensoundscape ask for, and what Raven places selections of several files by."""
    monkeypatch.chdir(tmp_path)
    for folder, rate in (("siteA", 22_050), ("siteB", 16_000)):  # recorders name files by the time: names repeat
        path = Path(folder, "20240512_083000.wav")
        path.parent.mkdir()
        path.write_bytes(wav(tone(2_000.0, 2.0, 0)[: 2 * rate], rate))
    files = ["siteA/20240512_083000.wav", "none.wav", "siteB/20240512_083000.wav"]
    assert main(["predict", str(model), *files, "--format", "raven", "--quiet"]) == 1
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out), delimiter="\t"))
    assert [(row["Begin Time (s)"], row["End Time (s)"], row["File Offset (s)"]) for row in rows] == [
        ("0.000", "1.000", "0.000"), ("1.000", "2.000", "1.000"),
        ("2.000", "3.000", "0.000"), ("3.000", "4.000", "1.000"),
    ]  # fmt: skip
    assert [(row["Low Freq (Hz)"], row["High Freq (Hz)"]) for row in rows] == [("0.0", "11025.0")] * 2 + [
        ("0.0", "8000.0")
    ] * 2
    assert [row["Begin Path"] for row in rows] == [str(tmp_path / files[i]) for i in (0, 0, 2, 2)]
    assert {row["Begin File"] for row in rows} == {"20240512_083000.wav"}
