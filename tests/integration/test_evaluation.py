import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.errors import AudioError, CheckpointError, ScoresError, SourceError
from hf_inatsounds.evaluation import evaluate, metrics_of, split_info
from hf_inatsounds.inference.predict import predict_file
from hf_inatsounds.metrics import inatsounds_metrics
from hf_inatsounds.models.classifier import Classifier, build_classifier, load_classifier
from hf_inatsounds.objectives import objective_for
from hf_inatsounds.scoring import FileScores, read_windows
from hf_inatsounds.scoring.scores import write_scores
from tests.helpers.archive import RATE, tone, wav, write_source
from tests.helpers.scored import score_recordings
from tests.integration.test_training import AST, WAV2VEC2

WINDOW = WindowSpec(1.0, 0.5)


def classifier_for(source, model="ast-tiny", objective="multiclass"):
    torch.manual_seed(0)
    space = split_info(str(source), "all", "train").label_space
    config = AST if model == "ast-tiny" else WAV2VEC2
    made = build_classifier(model, space, objective_for(objective), window=WINDOW, config=config)
    with torch.no_grad():  # a head that tells windows apart, as a trained one does
        for weights in made.model.classifier.parameters():
            weights.mul_(3.0).add_(0.3 * torch.randn_like(weights))
    return made


@pytest.fixture(scope="module")
def scored(tiny):
    info = split_info(str(tiny), "all", "test")
    return classifier_for(tiny), info


@pytest.mark.parametrize("model", ["ast-tiny", "wav2vec2-tiny"])
def test_scores_depend_neither_on_the_batch_nor_on_the_order_nor_on_the_part(tiny, model):
    info = split_info(str(tiny), "all", "test")
    classifier = classifier_for(tiny, model)
    rows = list(info.rows())
    expected, _ = score_recordings(classifier, rows, WINDOW, present=info.present, batch_size=64)
    assert np.ptp(expected.mean) > 0.01
    others = [
        score_recordings(classifier, rows, WINDOW, present=info.present, batch_size=1)[0],
        score_recordings(classifier, rows[::-1], WINDOW, present=info.present, batch_size=5)[0],
        FileScores.merge([score_recordings(classifier, rows[i::2], WINDOW, present=info.present)[0] for i in (1, 0)]),
    ]
    for found in others:
        assert found.recording_id.tolist() == expected.recording_id.tolist()
        np.testing.assert_array_equal(found.label, expected.label)
        np.testing.assert_allclose(found.mean, expected.mean, atol=1e-5)
        for name in ("max", "log_mean_exp"):
            np.testing.assert_allclose(found.scores[name], expected.scores[name], atol=1e-5)
        np.testing.assert_array_equal(found.place, expected.place)
        np.testing.assert_array_equal(found.window_file, expected.window_file)
        np.testing.assert_allclose(found.window_span_s, expected.window_span_s)


def test_scores_are_the_mean_over_windows_of_a_softmax_over_the_present_classes(scored):
    classifier, info = scored
    found, _ = score_recordings(classifier, info.rows(), WINDOW, present=info.present)
    row = next(row for row in info.rows() if row["duration_s"] > 2)
    windows = [waveform for waveform, _, _ in read_windows(row["audio"], WINDOW, 16_000)]
    assert len(windows) == 4
    logits = torch.from_numpy(classifier.logits(windows))[:, info.present.tolist()]
    expected = logits.double().softmax(-1).mean(0).numpy()
    place = found.recording_id.tolist().index(row["recording_id"])
    np.testing.assert_allclose(found.mean[place], expected, atol=1e-6)
    assert found.mean[place].sum() == pytest.approx(1, abs=1e-5)


def test_metrics_from_scores_are_the_contracts_on_masked_logits(scored):
    classifier, info = scored
    found, _ = score_recordings(classifier, info.rows(), WINDOW, present=info.present)
    logits = [
        classifier.logits([waveform for waveform, _, _ in read_windows(row["audio"], WINDOW, 16_000)])
        for row in sorted(info.rows(), key=lambda row: row["recording_id"])
    ]
    stacked = np.concatenate(logits)
    absent = np.setdiff1d(np.arange(stacked.shape[1]), info.present)
    stacked[:, absent] = -1e9
    files = np.repeat(np.arange(len(logits)), [len(one) for one in logits])
    mine = metrics_of(found, info.label_space)
    for aggregation in ("mean", "max", "log_mean_exp", "window"):
        contract = inatsounds_metrics(
            stacked, files, found.label, present=info.present, ranks=info.label_space.ranks, aggregation=aggregation
        )
        for key, value in mine[aggregation].items():
            assert contract[key] == pytest.approx(value, abs=1e-6), (aggregation, key)


def test_results_and_scores_are_written_and_read_back(scored, tmp_path):
    classifier, info = scored
    results = evaluate(classifier, info, tmp_path, window=WINDOW, checkpoint="somewhere/model", quiet=True)
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert results["dataset"]["present_classes"] == 2
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == [
        "recording_id", "label", "latitude", "longitude", "scores", "scores_max", "scores_log_mean_exp",
    ]  # fmt: skip
    assert str(table.schema.field("scores").type) == "fixed_size_list<element: float>[2]"
    loaded = FileScores.load(tmp_path)
    assert metrics_of(loaded, info.label_space) == results["metrics"]  # without a model
    assert len(pq.read_table(tmp_path / "windows.parquet")) == results["windows"]


def test_scores_with_nan_or_missing_are_refused(scored, tmp_path):
    classifier, info = scored
    scores, _ = score_recordings(classifier, info.rows(), WINDOW, present=info.present)
    scores.scores["mean"] = scores.mean.copy()
    scores.mean[2, 1] = np.nan
    table, windows = scores.tables()
    write_scores(tmp_path, [table], windows, {})
    with pytest.raises(ScoresError, match=f"NaN.*recording {scores.recording_id[2]}"):
        FileScores.load(tmp_path)
    with pytest.raises(ScoresError, match="no usable scores"):
        FileScores.load(tmp_path / "nowhere")


def test_a_recording_that_cannot_be_read_counts_as_silence_and_is_named(tmp_path):
    def plant(stem, made, files):
        files[made["audio"][0]["file_name"]] = b""

    source = write_source(tmp_path, change=plant)
    info = split_info(str(source), "all", "test")
    scores, defects = score_recordings(classifier_for(source), info.rows(), WINDOW, present=info.present)
    assert len(scores.recording_id) == len(info.labels) == 6
    assert np.isfinite(scores.mean).all()
    assert [row["recording_id"] for row in defects.report()["defects"]["empty"]] == [scores.recording_id[0]]


def test_another_datasets_classes_are_refused(scored, archives, tmp_path):
    classifier, _ = scored
    info = split_info(str(archives), "all", "test")
    with pytest.raises(
        CheckpointError, match=r"label spaces differ.*found 3 classes, 'Rana una' at label 0; expected 12"
    ):
        evaluate(classifier, info, tmp_path, window=WINDOW, checkpoint="somewhere/model", quiet=True)


def test_splits_and_names_that_cannot_be_evaluated_are_named(tiny):
    with pytest.raises(SourceError, match="unknown split"):
        split_info(str(tiny), "all", "dev")
    with pytest.raises(SourceError, match="unknown dataset name"):
        split_info(str(tiny), "reptilia", "test")


def test_a_split_without_recordings_of_a_name_is_named(tmp_path):
    def drop_birds(stem, made, files):
        if stem == "test":
            kept = [one["id"] for one in made["audio"] if "Aves" not in one["file_name"]]
            for key, name in (("audio", "id"), ("annotations", "audio_id")):
                made[key] = [one for one in made[key] if one[name] in kept]

    with pytest.raises(SourceError, match=r"no recordings: .*, aves"):
        split_info(str(write_source(tmp_path, change=drop_birds)), "aves", "test")


@pytest.mark.parametrize("objective", ["multiclass", "multilabel"])
def test_predictions_cover_a_long_recording_in_order(tiny, tmp_path, objective):
    classifier = classifier_for(tiny, objective=objective)
    (tmp_path / "long.wav").write_bytes(wav(tone(900.0, 10.3, 0)))
    found = list(predict_file(classifier, tmp_path / "long.wav", top=3, batch_size=4))
    assert len(found) == 11 * 3
    starts = [one.start_s for one in found[::3]]
    assert starts == sorted(starts)
    assert (found[0].start_s, found[-1].end_s) == (0.0, 10.3)
    assert found[-1].end_s - found[-1].start_s == pytest.approx(1.0)
    assert [one.score for one in found[:3]] == sorted((one.score for one in found[:3]), reverse=True)
    total = sum(one.score for one in found[:3])
    assert (total == pytest.approx(1, abs=1e-5)) == (objective == "multiclass")


def test_predictions_take_any_rate_and_format(tiny, tmp_path):
    classifier = classifier_for(tiny)
    (tmp_path / "a.flac").write_bytes(wav(np.stack([tone(900.0, 2.0, 0)] * 2, axis=1), 48_000, form="FLAC"))
    assert len(list(predict_file(classifier, tmp_path / "a.flac"))) == 1
    (tmp_path / "b.wav").write_bytes(wav(np.zeros(0), RATE))
    with pytest.raises(AudioError, match=r"b\.wav: nothing in it"):
        list(predict_file(classifier, tmp_path / "b.wav"))
    with pytest.raises(AudioError, match="no such recording"):
        list(predict_file(classifier, tmp_path / "c.wav"))


@pytest.mark.parametrize("model", ["ast-tiny", "wav2vec2-tiny"])
@pytest.mark.parametrize("n", [0, 1, 399, 400, 5_000])
def test_windows_of_any_length_have_finite_logits(tiny, model, n):
    logits = classifier_for(tiny, model).logits([np.ones(n, np.float32) * 0.1])
    assert np.isfinite(logits).all()


def test_a_checkpoint_is_complete_or_named(tiny, tmp_path):
    classifier = classifier_for(tiny)
    classifier.save(tmp_path)
    again = load_classifier(tmp_path)
    assert isinstance(again, Classifier)
    assert again.window == WINDOW
    (tmp_path / "inatsounds.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"malformed settings.*inatsounds\.json"):
        load_classifier(tmp_path)
    (tmp_path / "inatsounds.json").unlink()
    assert load_classifier(tmp_path).window.size_s == pytest.approx(1.0, abs=0.02)  # from the extractor
    LabelSpace(classifier.label_space.taxa[:1]).save(tmp_path)
    with pytest.raises(CheckpointError, match="1 and 3 classes"):
        load_classifier(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"no weights: .*expected model\.safetensors or pytorch_model\.bin"):
        load_classifier(tmp_path)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_classifier(tmp_path.parent)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_classifier(tmp_path / "nowhere")
