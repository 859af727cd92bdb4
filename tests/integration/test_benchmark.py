"""Suites through models: protocols, cached embeddings, resumption, the command line."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.cli.main import main
from hf_inatsounds.data.labels import LabelSpace, Taxon
from hf_inatsounds.downstream import benchmark as benchmarks
from hf_inatsounds.downstream import embedding_cache
from hf_inatsounds.downstream.benchmark import benchmark
from hf_inatsounds.downstream.embedding_cache import embed_task
from hf_inatsounds.downstream.fine_tuning import write_source
from hf_inatsounds.downstream.options import Options
from hf_inatsounds.downstream.suites import load_suite
from hf_inatsounds.downstream.tables import benchmark_text
from hf_inatsounds.errors import CheckpointError, SuiteError
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.inference.embedding import load_embedder
from hf_inatsounds.models.classifier import build_classifier
from hf_inatsounds.objectives import Multiclass
from tests.helpers import suites as make
from tests.integration.test_training import AST, FAST, WAV2VEC2

CONFIGS = {"ast-tiny": AST, "wav2vec2-tiny": WAV2VEC2, "resnet-tiny": {}}


def checkpoint(folder, model="ast-tiny", species=("dog", "Rana una", "Turdus duo")):
    taxa = tuple(Taxon(name, "", "Aves", ("Animalia",) * 7, True) for name in species)
    torch.manual_seed(0)
    classifier = build_classifier(
        model, LabelSpace(taxa), Multiclass(), window=WindowSpec(1.0, 0.5),
        config=CONFIGS[model],
    )  # fmt: skip
    classifier.save(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def stub(monkeypatch):
    def install(*arguments, **options):
        embedder = make.level_embedder(*arguments, **options)
        monkeypatch.setattr(benchmarks, "load_embedder", lambda *_, **__: embedder)
        return embedder

    return install


def options(tmp_path, **more):
    return Options(cache=str(tmp_path / "cache"), **{"bootstrap": 20, **more})


def test_esc10_linear_probe_few_shot_and_attentive_probe_tell_levels_apart(tmp_path, stub):
    stub([0.1, 0.3, 0.5])
    suite = load_suite("esc10", make.esc10(tmp_path / "esc"))
    for protocol in ("linear-probe", "attentive-probe"):
        found = benchmark("m", suite, tmp_path / protocol, options(tmp_path, protocol=protocol), quiet=True)
        task = found["tasks"]["esc10"]
        assert task["metrics"] == {"accuracy": 1.0}
        assert [one["fold"] for one in task["folds"]] == list("12345")
        assert (task["folds"][0]["train"], task["folds"][0]["test"]) == (16, 4)
        assert task["interval"] == [1.0, 1.0]
    few = benchmark(
        "m", suite, tmp_path / "few", options(tmp_path, protocol="few-shot", shots=(1, 2), seeds=3), quiet=True
    )
    shots = few["tasks"]["esc10"]["shots"]
    assert [(one["shots"], one["metrics"]["accuracy"], one["seeds"]) for one in shots] == [(1, 1.0, 3), (2, 1.0, 3)]
    text = benchmark_text(few)
    assert "published by others" in text
    assert "random forest on MFCCs: accuracy 0.727" in text


def test_birb_retrieval_ranks_by_the_exemplars(tmp_path, stub):
    stub([0.2, 0.4])
    suite = load_suite("birb", make.birb(tmp_path / "birb"))
    found = benchmark(
        "m", suite, tmp_path / "out", options(tmp_path, protocol="few-shot", shots=(1,), seeds=2), quiet=True
    )
    # two corpus windows: level .2 throughout holds Rana, the half-and-half one (.3 on average) holds Turdus
    task = found["tasks"]["birb"]
    assert task["shots"][0]["metrics"] == {"map": 1.0, "auroc": 1.0}
    assert task["folds"][0]["probe"] == "cosine similarity to the mean exemplar"


def test_zero_shot_reports_what_it_could_not_match_and_both_numbers(tmp_path, stub):
    stub([0.1, 0.5], ["Canis familiaris", "Aeolus ventus"])
    codes = make.write_csv(tmp_path / "codes.csv", ["code", "scientific_name"], [["dog", "Canis familiaris"]])
    suite = load_suite("esc50", make.esc10(tmp_path / "esc"))
    told = options(tmp_path, protocol="zero-shot", codes=str(codes))
    task = benchmark("m", suite, tmp_path / "out", told, quiet=True)["tasks"]["esc50"]
    assert task["crosswalk"]["unmatched"] == ["rain", "wind"]
    assert task["metrics"] == {"accuracy": 1.0}  # of the dogs alone, among the one class that is matched
    assert task["folds"][0]["test_of_matched_classes"] == 2
    assert task["folds"][0]["all_classes"] == {"accuracy": pytest.approx(1 / 3)}


def test_zero_shot_without_any_match_is_one_line(tmp_path, stub):
    stub([0.1, 0.5], ["Canis familiaris", "Aeolus ventus"])
    suite = load_suite("esc10", make.esc10(tmp_path / "esc"))
    with pytest.raises(SuiteError, match="no class of the suite is one of the model's"):
        benchmark("m", suite, tmp_path / "out", options(tmp_path, protocol="zero-shot"), quiet=True)


def test_the_other_suites_run_through_a_probe(tmp_path, stub):
    stub([0.1, 0.5])
    for name, build in (("birdset", make.birdset), ("anuraset", make.anuraset), ("beans", make.beans_dogs)):
        suite = load_suite(name, build(tmp_path / name))
        found = benchmark("m", suite, tmp_path / f"out-{name}", options(tmp_path), quiet=True)
        (task,) = found["tasks"].values()
        assert set(task["metrics"]) == set(suite.tasks[0].policy.metrics)
        if name == "beans":  # 0.13 is Mac's by the table and sounds like Zoe
            assert task["metrics"]["accuracy"] == 0.75
        if name == "birdset":
            assert found["mean"]["over"] == ["HSN"]
            assert "PER" in found["mean"]["missing"]
            assert task["published"][0]["name"] == "AST"


def test_embeddings_are_made_once_and_a_kill_loses_one_batch_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_cache, "CLIPS_A_FILE", 4)
    embedder = make.level_embedder([0.1, 0.5])
    task = load_suite("esc10", make.esc10(tmp_path / "esc")).tasks[0]
    rows, calls, forward = task.indices(tuple("12345")), [], embedder._forward

    def counted(windows, kind):
        calls.append(kind)
        if len(calls) == 11:
            raise KeyboardInterrupt
        return forward(windows, kind)

    embedder._forward = counted
    with pytest.raises(KeyboardInterrupt):
        embed_task(embedder, task, rows, tmp_path / "cache", quiet=True)
    first = embed_task(embedder, task, rows, tmp_path / "cache", quiet=True)
    assert len(rows) == 20
    assert len(calls) == 11 + 20 - 8
    damaged = sorted((tmp_path / "cache").rglob("*.parquet"))[0]
    damaged.write_bytes(damaged.read_bytes()[:50])
    again = embed_task(embedder, task, rows, tmp_path / "cache", quiet=True)
    np.testing.assert_array_equal(np.stack(first), np.stack(again))
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_windows_that_share_a_pass_on_a_gpu_keep_their_clips(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_cache, "WINDOWS_A_PASS", 7)
    monkeypatch.setattr(embedding_cache, "SECONDS_A_FILE", 0.0)
    embedder = make.level_embedder([0.1, 0.5])
    embedder.window = WindowSpec(0.4, 0.2)
    task = load_suite("esc10", make.esc10(tmp_path / "esc")).tasks[0]
    rows = task.indices(tuple("12345"))
    alone = embed_task(embedder, task, rows, tmp_path / "one", quiet=True)
    embedder.on_gpu = True
    together = embed_task(embedder, task, rows, tmp_path / "two", quiet=True)
    assert [len(one) for one in alone] == [4] * 20
    np.testing.assert_array_equal(np.stack(alone), np.stack(together))


def test_a_changed_recording_is_embedded_anew(tmp_path):
    embedder = make.level_embedder([0.1, 0.5])
    esc = make.esc10(tmp_path / "esc")
    task = load_suite("esc10", esc).tasks[0]
    before = embed_task(embedder, task, np.array([0]), tmp_path / "cache", quiet=True)
    make.level(esc / "changed" / "1-10000-A-0.wav", 0.5)
    (esc / "audio").rename(esc / "old")
    (esc / "changed").rename(esc / "audio")
    after = embed_task(embedder, task, np.array([0]), tmp_path / "cache", quiet=True)
    assert not np.allclose(before, after)


def test_done_folds_are_kept_unless_something_changed(tmp_path, stub, monkeypatch):
    embedder = stub([0.1, 0.3])
    suite = load_suite("esc10", make.esc10(tmp_path / "esc"))
    told, run, done = options(tmp_path), dict(benchmarks.RUN), []

    def interrupted(job, fold):
        done.append(fold.name)
        if len(done) == 3:
            raise KeyboardInterrupt
        return run["linear-probe"](job, fold)

    monkeypatch.setitem(benchmarks.RUN, "linear-probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        benchmark("m", suite, tmp_path / "out", told, quiet=True)
    results = benchmark("m", suite, tmp_path / "out", told, quiet=True)
    assert done == ["1", "2", "3", "3", "4", "5"]
    assert benchmark("m", suite, tmp_path / "out", told, quiet=True) == results
    assert len(done) == 6
    embedder.digest = "another model"
    benchmark("m", suite, tmp_path / "out", told, quiet=True)
    assert len(done) == 11


@pytest.mark.parametrize("name", list(CONFIGS))
def test_embeddings_are_what_the_head_sees_and_do_not_depend_on_neighbours(tmp_path, name):
    embedder = load_embedder(str(checkpoint(tmp_path / "m", name)))
    generator = np.random.default_rng(0)
    windows = [generator.standard_normal(n).astype(np.float32) * 0.1 for n in (16_000, 9_000, 16_000)]
    together = embedder.embed(windows)
    alone = np.concatenate([embedder.embed([window]) for window in windows])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    model = embedder.classifier.model
    head = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 3][-1]
    with torch.inference_mode():
        np.testing.assert_allclose(
            head(torch.from_numpy(together)).numpy(), embedder.embed(windows, "logits"), atol=1e-5
        )
    assert embedder.embed(windows, "tokens").shape[:2] == (3, 16)


def test_random_weights_are_the_seeds_alone(model):
    window = [np.random.default_rng(0).standard_normal(16_000).astype(np.float32) * 0.1]
    one, same, other = (load_embedder(str(model), random_init=seed) for seed in (1, 1, 2))
    own = load_embedder(str(model))
    np.testing.assert_array_equal(one.embed(window), same.embed(window))
    assert len({own.digest, one.digest, other.digest}) == 3
    assert one.digest == same.digest
    assert not np.allclose(one.embed(window), other.embed(window))
    assert not np.allclose(own.embed(window), one.embed(window))


def test_a_model_without_a_head_gives_the_mean_of_its_last_states(tmp_path):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

    config = Wav2Vec2Config(**{**WAV2VEC2, "conv_kernel": [10, 3, 3, 3], "conv_stride": [5, 2, 2, 2],
                               "num_feat_extract_layers": 4, "num_conv_pos_embedding_groups": 4})  # fmt: skip
    bare = Wav2Vec2Model(config).eval()
    bare.save_pretrained(tmp_path)
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    extractor.save_pretrained(tmp_path)
    window = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    embedder = load_embedder(str(tmp_path))
    with torch.inference_mode():
        states = bare(**extractor(window, sampling_rate=16_000, return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(embedder.embed([window])[0], states[0].mean(0).numpy(), atol=1e-4)
    with pytest.raises(CheckpointError, match="no classification head"):
        embedder.embed([window], "logits")


def test_a_whisper_is_asked_for_the_window_and_not_for_the_padding_after_it(tmp_path):
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "vocab_size": 60,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "pad_token_id": 0}  # fmt: skip
    whisper = WhisperModel(WhisperConfig(**sizes)).eval()
    whisper.save_pretrained(tmp_path)
    extractor = WhisperFeatureExtractor()
    extractor.save_pretrained(tmp_path)
    window = np.random.default_rng(0).standard_normal(48_000).astype(np.float32)
    with torch.inference_mode():
        features = extractor(window, sampling_rate=16_000, return_tensors="pt")
        states = whisper.encoder(features["input_features"]).last_hidden_state
    assert states.shape[1] == 1_500  # 30 s, of which the window has 3
    found = load_embedder(str(tmp_path)).embed([window])[0]
    np.testing.assert_allclose(found, states[0, :150].mean(0).numpy(), atol=2e-3)
    assert not np.allclose(found, states[0].mean(0).numpy(), atol=2e-2)


def test_fine_tuning_goes_through_train_and_starts_from_a_preset_too(tmp_path, model, capsys):
    esc = make.esc10(tmp_path / "esc")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(json.dumps({**FAST, "num_train_epochs": 1, "config": AST}))
    words = ["benchmark", "ast-tiny", "--suite", "esc10", "--data", str(esc), "--protocol", "fine-tune", "--quiet",
             "--recipe", str(recipe), "--bootstrap", "5"]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    task = results["tasks"]["esc10"]
    assert len(task["folds"]) == 5
    assert 0 <= task["metrics"]["accuracy"] <= 1
    assert task["folds"][0]["steps"] == 4  # 16 clips in batches of 4
    assert task["recipe"]["num_train_epochs"] == 1
    assert not (tmp_path / "out" / "work").exists()


def test_fine_tuning_takes_clips_of_any_number_of_labels(tmp_path, model):
    beans = make.beans_gibbons(tmp_path / "beans")
    for part in ("train", "test"):  # silence, then the two calls as levels: 2 from 3 s to 5 s, 1 from 6 s on
        stretches = [(3.0, 0.0), (2.0, 0.6), (1.0, 0.0), (3.0, -0.6)]
        make.levels(beans / "data" / "hainan_gibbons" / f"{part}.wav", stretches)
    suite = load_suite("beans", beans)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        json.dumps(
            {
                "num_train_epochs": 3,
                "per_device_train_batch_size": 2,
                "window_s": 4.0,
                "stride_s": 4.0,
                "config": WAV2VEC2,
            }
        )
    )
    told = options(tmp_path, protocol="fine-tune", recipe=str(recipe))
    task = benchmark("wav2vec2-tiny", suite, tmp_path / "out", told, quiet=True)["tasks"]["gibbons"]
    assert task["folds"][0]["steps"] == 6  # three windows in batches of two, three times
    assert 0 < task["metrics"]["map_absent_zero"] <= 2 / 3  # the third class is absent and counts
    again = benchmark("wav2vec2-tiny", suite, tmp_path / "again", told, quiet=True)["tasks"]["gibbons"]
    assert again["metrics"] == task["metrics"]


def test_a_source_of_one_label_a_clip_refuses_others(tmp_path):
    task = load_suite("beans", make.beans_gibbons(tmp_path / "beans")).tasks[0]
    with pytest.raises(SuiteError, match="one label a clip"):
        write_source(task, task.folds[0], tmp_path / "source", hold_out=False, seed=0)


@pytest.mark.parametrize("hold_out", [False, True])
def test_a_source_for_training_never_sees_the_test_part(tmp_path, hold_out):
    task = load_suite("esc10", make.esc10(tmp_path / "esc")).tasks[0]
    write_source(task, task.folds[0], tmp_path / "source", hold_out=hold_out, seed=0)
    parts = {}
    for stem in ("train", "val"):
        audio = json.loads((tmp_path / "source" / f"{stem}.json").read_text())["audio"]
        parts[stem] = {one["id"] for one in audio}
        assert all((tmp_path / "source" / one["file_name"]).exists() for one in audio)
    test = set(task.indices(("1",)).tolist())
    assert not (parts["train"] | parts["val"]) & test
    assert (len(parts["train"]), len(parts["train"] & parts["val"])) == ((13, 0) if hold_out else (16, 1))
    assert [taxon.species for taxon in split_info(str(tmp_path / "source"), "all", "train").label_space.taxa] == [
        "dog", "rain",
    ]  # fmt: skip


def test_benchmark_on_a_real_checkpoint_from_the_command_line(tmp_path, model, capsys):
    esc = make.esc10(tmp_path / "esc")
    words = ["benchmark", str(model), "--suite", "esc10", "--data", str(esc), "--cache", str(tmp_path / "cache")]
    assert main([*words, "--quiet", "--out", str(tmp_path / "out"), "--random-init", "3"]) == 0
    told = capsys.readouterr()
    assert "random weights (seed 3)" in told.out
    assert told.err == ""
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["model"]["random_init"] == 3
    assert results["protocol"] == "linear-probe"


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["--suite", "esc10", "--recipe", "r.yaml"], 2, "--recipe is for fine-tune"),
        (["--suite", "birdset"], 1, "missing subset"),
        (["--suite", "esc10", "--subset", "HSN"], 2, "a suite of one data set"),
        (["--suite", "esc10", "--window", "1", "--stride", "2"], 2, "bad window"),
        (["--suite", "esc10", "--protocol", "zero-shot", "--names", "nowhere.csv"], 1, "missing table"),
        (["--suite", "esc10", "--protocol", "fine-tune", "--recipe", "nowhere.yaml"], 1, "cannot read the recipe"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(tmp_path, model, capsys, words, code, expected):
    esc = make.esc10(tmp_path / "esc", per_fold=1)
    words = ["benchmark", str(model), "--data", str(esc), "--quiet", "--out", str(tmp_path / "out"), *words]
    assert main(words) == code
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_the_command_line_names_what_there_is():
    from hf_inatsounds.downstream import names
    from hf_inatsounds.downstream.protocols import RUN
    from hf_inatsounds.downstream.suites import SUITES

    assert tuple(SUITES) == names.SUITES
    assert tuple(RUN) == names.PROTOCOLS


def test_embed_writes_a_row_a_window_and_names_what_it_cannot_read(tmp_path, model, capsys):
    long, bad = make.level(tmp_path / "long.wav", 0.1, 2.5), tmp_path / "bad.wav"
    bad.write_bytes(b"no audio")
    out = tmp_path / "x.parquet"
    assert main(["embed", str(model), str(long), str(bad), "--out", str(out), "--quiet", "--json"]) == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["out"], found["windows"], found["dimensions"], found["failed"]) == (str(out), 3, 32, [str(bad)])
    assert told.err.count("\n") == 1
    table = pq.read_table(out)
    assert table.column_names == ["file", "start_s", "end_s", "embedding"]
    assert table["start_s"].to_pylist() == [0.0, 1.0, 1.5]
    assert table["end_s"].to_pylist() == [1.0, 2.0, 2.5]
    assert all(len(row) == 32 and all(map(math.isfinite, row)) for row in table["embedding"].to_pylist())
    assert main(["embed", str(model), str(bad), "--out", str(tmp_path / "y.parquet"), "--quiet"]) == 1
    assert not (tmp_path / "y.parquet").exists()
