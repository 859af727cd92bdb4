import copy
import json

import numpy as np
import pytest
import yaml

from hf_inatsounds.audio.defects import DefectLog, inspect_recording
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.files import replacing, write_json
from hf_inatsounds.reports import defect_lines, results_text, summarise, training_report
from hf_inatsounds.reports.model_card import read_results, render_card, write_card
from tests.helpers.archive import RATE, wav

TAXA = dict.fromkeys(("kingdom", "phylum", "class", "order", "family", "genus", "specific_epithet"), 0.5)
TOPS = {"top1": 0.4, "top5": 0.6, "top1_class_average": 0.41, "top5_class_average": 0.61, "taxon_accuracy": TAXA}
FILE = {"map": 0.123456, "f1_max": 0.2, "roc_auc": 0.9, **TOPS}
RESULTS = {
    "model": {
        "name": "ast-tiny", "architecture": "ASTForAudioClassification", "parameters": 670_000,
        "objective": "multilabel", "sampling_rate": 16_000,
        "training": {"seed": 7, "dataset": {"title": "tones", "name": "all", "split": "train", "classes": 3},
                     "epochs": 3.0, "steps": 30, "recordings": 12, "best": None},
    },
    "dataset": {"title": "tones", "name": "all", "split": "test", "recordings": 6, "annotated_recordings": 6,
                "hours": 0.01, "classes": 3, "evaluated_classes": 2, "present_classes": 2},
    "window": {"size_s": 3.0, "stride_s": 1.5, "alignment": "centered"},
    "windows": 9,
    "headline": "mean",
    "metrics": {"mean": FILE, "max": FILE, "window": TOPS},
    "defects": {"recordings": 6, "defects": {"empty": [{"recording_id": 3, "file_name": "test/a.wav"}]}},
    "environment": {"python": "3.11", "torch": "2.13.0"},
}  # fmt: skip


def test_the_card_states_what_the_numbers_depend_on():
    card = render_card([RESULTS])
    for text in (
        "split | test", "2 present in the split, of 3", "| Window | 3 s |", "| Stride | 1.5 s, centered |",
        "mean over a file's windows", "| Objective | multilabel |", "| Seed | 7 |", "torch 2.13.0",
        "You may not distribute the recordings", "## Limits", "0.123", "6 recordings, 1 empty",
        "This is not a model of the iNaturalist Sounds Dataset", "@article{chasmai2025inaturalist",
    ):  # fmt: skip
        assert text.lower() in card.lower(), text
    assert "{{" not in card
    assert "undefined" not in card.lower()


def test_the_card_tells_how_this_kind_of_model_is_called():
    assert 'pipeline("audio-classification", model="ast-tiny")' in render_card([RESULTS])
    image = copy.deepcopy(RESULTS)
    image["model"]["architecture"] = "ResNetForImageClassification"
    card = render_card([image])
    assert 'pipeline("audio-classification"' not in card  # it takes images, not recordings
    assert "pipeline_tag: image-classification" in card
    assert 'pipeline("image-classification", model="ast-tiny")' in card
    assert 'load_classifier("ast-tiny")' in card
    assert "A ResNet on spectrogram images that names" in card


def test_the_cards_metadata_is_a_model_index_that_the_hub_reads():
    from huggingface_hub import ModelCard

    card = ModelCard(render_card([RESULTS]))
    assert card.data.pipeline_tag == "audio-classification"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert results["mean_average_precision"].metric_value == 0.1235
    assert results["mean_average_precision"].dataset_split == "test"
    front = yaml.safe_load(card.content.split("---")[1])
    assert front["model-index"][0]["name"] == "ast-tiny"


def test_the_headline_is_the_test_split_where_there_is_one(tmp_path):
    validation = copy.deepcopy(RESULTS)
    validation["dataset"]["split"] = "validation"
    write_json(tmp_path / "evaluation-validation" / "results.json", validation)
    write_json(tmp_path / "evaluation-test" / "results.json", RESULTS)
    assert [one["dataset"]["split"] for one in read_results(tmp_path)] == ["test", "validation"]
    text = write_card(tmp_path, model_id="me/frogs").read_text()
    assert text.index("tones, test split") < text.index("tones, validation split")
    assert 'model="me/frogs"' in text
    assert "lean to the optimistic side" in text


def test_a_benchmark_in_the_run_folder_is_no_evaluation(tmp_path):
    write_json(tmp_path / "benchmark-esc10-few-shot" / "results.json", {"suite": "esc10", "model": {}, "tasks": {}})
    with pytest.raises(ScoresError, match="no results"):
        read_results(tmp_path)
    write_json(tmp_path / "evaluation-test" / "results.json", RESULTS)
    assert "tones, test split" in write_card(tmp_path).read_text()


def test_a_checkpoint_without_a_known_training_says_so():
    unknown = copy.deepcopy(RESULTS)
    unknown["model"]["training"] = None
    assert "Not known" in render_card([unknown])


def test_a_run_without_results_gets_the_command_that_makes_them(tmp_path):
    with pytest.raises(ScoresError, match="Run: hf-inatsounds evaluate"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"model": 3}')
    with pytest.raises(ScoresError, match="malformed results"):
        read_results(tmp_path)


def test_the_terminal_table_has_every_metric():
    text = results_text(RESULTS)
    for name in ("mAP", "F1-max", "ROC-AUC", "top-5, class average", "family accuracy"):
        assert name in text


def log():
    content = wav(np.sin(np.arange(RATE) * 0.1))
    recordings = {
        0: content, 1: b"", 2: content[: len(content) // 2], 3: wav(np.zeros(1_000)), 4: content, 5: b"junk" * 20,
        6: wav(np.zeros(RATE), 16_000), 7: b"",
    }  # fmt: skip
    found = DefectLog()
    for recording_id, one in recordings.items():
        found.add([inspect_recording(recording_id, f"train/{recording_id}.wav", {"bytes": one, "path": None})])
    return found


def test_defects_are_counted_and_named_by_kind():
    report = log().report()
    named = {kind: [row["recording_id"] for row in rows] for kind, rows in report["defects"].items()}
    assert named == {
        "empty": [1, 7], "unreadable": [5], "truncated": [2], "near-empty": [3], "wrong-format": [6], "duplicate": [4],
    }  # fmt: skip
    assert report["defects"]["duplicate"][0]["repeats_recording_id"] == 0
    assert summarise(report).startswith("8 recordings, 2 empty, 1 unreadable")
    assert "`train/2.wav`" in "\n".join(defect_lines(report))


def test_the_same_recording_counts_once():
    twice = log()
    twice.add(log().seen.values())
    assert twice.report() == log().report()


CHEAP = {"split": "validation", "windows": "cheap", "recordings": 5, "of": 90, "dtype": "float32"}
FULL = {**CHEAP, "windows": "full", "recordings": 90}


def test_a_training_report_has_the_course_and_the_defects():
    entry = {"epoch": 1.0, "loss": 2.0, **{key: FILE[key] for key in ("map", "f1_max", "roc_auc", "top1")}}
    run = {
        "model": "ast-tiny", "objective": "multiclass", "parameters": 5, "seed": 0, "recordings": 8, "hours": 0.1,
        "dataset": {"title": "tones", "split": "train"}, "epochs": 1.0, "steps": 4, "seconds": 9.0, "processes": 1,
        "best": entry, "history": [entry], "defects": log().report(), "environment": {"torch": "2.13.0"},
        "final": {"map": 0.0024}, "validation": CHEAP, "final_validation": FULL,
    }  # fmt: skip
    text = training_report(run)
    assert "| 1 | 2.000 | 0.123 |" in text
    assert "2 empty" in text
    during, at_last = "(the central window of 5 of 90 recordings)", "(all windows of all 90 recordings)"
    first, second = text.split("Best validation mAP 0.123, after epoch 1, on the validation split ")
    assert first.endswith(f"Final mAP 0.002, of the saved weights, on the validation split {at_last}.\n\n")
    assert second.startswith(during)
    assert f"During the run, on the validation split {during}." in text
    same = training_report({**run, "final_validation": CHEAP})
    assert "Final mAP" not in same


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_undefined_number_is_written_as_null(tmp_path):
    value = {"map": float("nan"), "intervals": [(0.5, float("inf"))], "top1": np.float64("nan"), "n": 3, "name": "nan"}
    write_json(tmp_path / "a.json", value)
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert found == {"map": None, "intervals": [[0.5, None]], "top1": None, "n": 3, "name": "nan"}
