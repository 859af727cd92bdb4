"""What others trained goes into every command as it is; what needs code of its own goes into none."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from hf_inatsounds.audio import read_window
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.downstream.benchmark import benchmark
from hf_inatsounds.downstream.options import Options
from hf_inatsounds.downstream.suites import load_suite
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.evaluation import evaluate, processes, split_info
from hf_inatsounds.inference.predict import predict_file
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.scoring import FileScores
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.run import train
from tests.helpers.archive import tone, wav
from tests.helpers.checkpoints import as_the_example_leaves_it, pretrained
from tests.helpers.suites import esc10
from tests.unit.test_checkpoint_reading import with_code

SPECIES = ["Rana una", "Turdus duo", "Turdus tres"]
WINDOW = WindowSpec(0.5, 0.5)
RUN = {
    "window_s": 0.5, "stride_s": 0.5, "num_train_epochs": 1, "per_device_train_batch_size": 8, "validation": "cheap",
    "config": {"mask_time_prob": 0.0},
}  # fmt: skip


@pytest.fixture
def threads_for_processes(monkeypatch):
    """What a scoring process does, without the seconds that it takes to start one."""

    @contextlib.contextmanager
    def threads(count, begin, *shared):
        begin(*shared)
        with ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr(processes, "processes", threads)
    monkeypatch.setattr(processes, "_worker", {})
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


def scored(checkpoint, source, out, **options):
    classifier = load_classifier(checkpoint, device="cpu")
    info = split_info(str(source), "all", "test")
    results = evaluate(classifier, info, out, window=WINDOW, checkpoint=str(checkpoint), quiet=True, **options)
    return results, FileScores.load(out, ["mean"])


def with_rows(theirs, folder, rows, names):
    """The same checkpoint with these rows of its head, under these names."""
    model = load_classifier(theirs, device="cpu").model
    head = model.classifier
    model.classifier = torch.nn.Linear(head.in_features, len(rows))
    model.classifier.load_state_dict({"weight": head.weight[rows], "bias": head.bias[rows]})
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: i for i, name in enumerate(names)}
    model.save_pretrained(folder)
    shutil.copy(theirs / "preprocessor_config.json", folder)


def first_logits(checkpoint, source):
    """Logits of the first recording's window under the checkpoint's own names."""
    classifier = load_classifier(checkpoint, device="cpu")
    row = next(iter(split_info(str(source), "all", "test").rows()))
    waveform = read_window(row["audio"], 0.0, 0.5, classifier.sampling_rate)
    return dict(zip(classifier.species, classifier.logits([waveform])[0], strict=True))


def test_what_transformers_own_example_leaves_is_evaluated_whatever_the_order_of_its_classes(
    tiny, tmp_path, threads_for_processes
):
    as_the_example_leaves_it(tmp_path / "theirs", SPECIES)
    results, scores = scored(tmp_path / "theirs", tiny, tmp_path / "one", scored="all")
    assert results["scored_classes"]["count"] == 3
    order = [2, 0, 1]
    with_rows(tmp_path / "theirs", tmp_path / "turned", order, [SPECIES[i].lower().replace(" ", "_") for i in order])
    again, others = scored(tmp_path / "turned", tiny, tmp_path / "two", scored="all", processes=2)
    np.testing.assert_allclose(others.mean, scores.mean, atol=1e-5)
    assert again["metrics"]["mean"]["map"] == pytest.approx(results["metrics"]["mean"]["map"])
    assert not (tmp_path / "theirs" / "ran").exists()


def test_more_classes_than_the_datasets_are_left_out_and_fewer_are_enough_where_those_are_scored(tiny, tmp_path):
    as_the_example_leaves_it(tmp_path / "more", ["noise", *SPECIES[::-1], "Hyla x"])
    with_rows(tmp_path / "more", tmp_path / "same", [3, 2, 1], SPECIES)
    results, scores = scored(tmp_path / "more", tiny, tmp_path / "one")
    assert results["scored_classes"]["count"] == 2
    assert np.isfinite(scores.mean).all()
    np.testing.assert_allclose(
        scores.mean, scored(tmp_path / "same", tiny, tmp_path / "same-scores")[1].mean, atol=1e-5
    )

    as_the_example_leaves_it(tmp_path / "fewer", ["noise", *SPECIES[:2]])  # the third has no recording in the split
    with_rows(tmp_path / "more", tmp_path / "fewer", [0, 3, 2], ["noise", *SPECIES[:2]])
    np.testing.assert_allclose(
        scored(tmp_path / "fewer", tiny, tmp_path / "fewer-scores")[1].mean, scores.mean, atol=1e-5
    )
    with pytest.raises(
        CheckpointError, match="found 3 classes, among them 'noise'; expected classes named 'Turdus tres'"
    ):
        scored(tmp_path / "fewer", tiny, tmp_path / "all", scored="all")


def test_classes_of_other_names_are_refused_before_anything_is_scored(tiny, tmp_path):
    as_the_example_leaves_it(tmp_path / "theirs", ["LABEL_0", "LABEL_1", "LABEL_2"])
    message = "found 3 classes, among them 'LABEL_0', .*expected classes named 'Rana una', 'Turdus duo'"
    with pytest.raises(CheckpointError, match=message) as error:
        scored(tmp_path / "theirs", tiny, tmp_path / "out")
    assert "id2label" in str(error.value)
    assert not (tmp_path / "out").exists()


def test_it_is_trained_on_with_its_head_where_the_classes_are_the_datasets(tiny, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    as_the_example_leaves_it(theirs, ["turdus_tres", "Rana_una", "Turdus duo"])
    keys = {**RUN, "source": str(tiny), "model": str(theirs)}
    run = train(make_recipe({**keys, "output_dir": str(tmp_path / "run"), "learning_rate": 1e-9}, where="test"))
    assert run["start"]["head"] == "reordered"
    assert "put in the dataset's order" in capsys.readouterr().err
    assert run["start"] == json.loads((tmp_path / "run" / "train.json").read_text())["start"]
    assert "From the checkpoint: head kept" in (tmp_path / "run" / "report.md").read_text()
    mine, before = first_logits(tmp_path / "run", tiny), first_logits(theirs, tiny)
    assert list(mine) == SPECIES
    named = {"Rana una": "Rana_una", "Turdus duo": "Turdus duo", "Turdus tres": "turdus_tres"}
    assert [mine[name] for name in SPECIES] == pytest.approx([before[named[name]] for name in SPECIES], abs=1e-3)

    pretrained(tmp_path / "base", "hubert")
    keys["model"] = str(tmp_path / "base")
    run = train(make_recipe({**keys, "output_dir": str(tmp_path / "new")}, where="test"))
    assert run["start"]["head"] == "new"
    assert f"{tmp_path / 'base'}: new head; drawn anew: classifier.bias" in capsys.readouterr().err
    assert not (theirs / "ran").exists()


def test_it_predicts_under_its_own_names(tmp_path):
    as_the_example_leaves_it(tmp_path / "theirs", ["owl", "fox"])
    (tmp_path / "a.wav").write_bytes(wav(tone(900.0, 2.0, 0)))
    found = list(predict_file(load_classifier(tmp_path / "theirs"), tmp_path / "a.wav", window=WINDOW, top=2))
    assert {one.species for one in found} == {"owl", "fox"}
    assert sum(one.score for one in found[:2]) == pytest.approx(1, abs=1e-5)


def test_a_base_model_in_a_pickle_is_benchmarked(tmp_path):
    pretrained(tmp_path / "base", "wavlm", "bin-shards")
    data = esc10(tmp_path / "esc")
    options = Options(cache=str(tmp_path / "cache"), bootstrap=0, window_s=0.5, stride_s=0.5)
    found = benchmark(str(tmp_path / "base"), load_suite("esc10", data, []), tmp_path / "out", options, quiet=True)
    assert all(np.isfinite(list(task["metrics"].values())).all() for task in found["tasks"].values())


COMMANDS = """
import sys
from hf_inatsounds.cli.main import main
theirs, file, source, recipe, out = sys.argv[1:]
for words in (["predict", theirs, file], ["embed", theirs, file, "--out", out + ".parquet"],
              ["evaluate", theirs, "--source", source], ["train", recipe, "--source", source, "--model", theirs,
               "--output_dir", out]):
    print(main(words))
"""


def test_who_answers_yes_to_every_question_runs_no_code_of_a_checkpoint(tiny, tmp_path):
    theirs = tmp_path / "theirs"
    as_the_example_leaves_it(theirs, SPECIES)
    with_code(theirs, model_type="theirs")
    (tmp_path / "a.wav").write_bytes(wav(tone(900.0, 2.0, 0)))
    (tmp_path / "recipe.yaml").write_text("num_train_epochs: 1\n")
    words = [theirs, tmp_path / "a.wav", tiny, tmp_path / "recipe.yaml", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *map(str, words)], input="y\n" * 20, capture_output=True, text=True,
        check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=300,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "1", "1", "1"]
    told = [line for line in done.stderr.splitlines() if line.startswith("hf-inatsounds ")]
    assert len(told) == 4
    assert all("needs code of its own, which is never run" in line for line in told)
    assert "Traceback" not in done.stderr
    assert not (theirs / "ran").exists()
