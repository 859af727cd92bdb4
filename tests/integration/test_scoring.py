"""Scores of a split do not depend on how they were made, and survive whatever interrupts them."""

import json

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.cli.main import main
from hf_inatsounds.errors import ScoresError
from hf_inatsounds.evaluation import Bootstrap, evaluate, metrics_of, split_info
from hf_inatsounds.evaluation.processes import plan_of
from hf_inatsounds.evaluation.run import scored_classes
from hf_inatsounds.scoring import FileScores, folder
from hf_inatsounds.scoring.folder import Blocks
from hf_inatsounds.scoring.scores import write_scores
from tests.helpers.archive import write_source
from tests.helpers.scored import score_recordings
from tests.integration.test_evaluation import WINDOW, classifier_for


@pytest.fixture(scope="module")
def checkpoint(tiny, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    classifier_for(tiny).save(path)
    return path


@pytest.fixture(scope="module")
def expected(tiny):
    info = split_info(str(tiny), "all", "test")
    return score_recordings(classifier_for(tiny), info.rows(), WINDOW, present=info.present)[0]


def assert_same(found, expected):
    for name in ("recording_id", "label", "classes", "window_file", "place"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name, matrix in expected.scores.items():
        np.testing.assert_allclose(found.scores[name], matrix, atol=1e-5)
    np.testing.assert_allclose(found.window_span_s, expected.window_span_s)


def test_scores_do_not_depend_on_the_source(tiny, tmp_path, expected):
    classifier = classifier_for(tiny)
    assert main(["index", str(tiny), "--out", str(tmp_path / "index"), "--quiet"]) == 0
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    write_source(unpacked, unpacked=True)
    infos = [
        split_info(str(tiny), "all", "test", str(tmp_path / "index")),
        split_info(str(unpacked), "all", "test"),
    ]
    for info in infos:
        assert_same(score_recordings(classifier, info.rows(), WINDOW, present=info.present)[0], expected)
    mirror = str(tmp_path / "mirror")
    assert main(["publish", str(tiny), "--local-dir", mirror, "--quiet"]) == 0
    rows = datasets.load_dataset(mirror, "all", split="test").cast_column("audio", datasets.Audio(decode=False))
    ids = [row["recording_id"] for row in rows]
    assert sorted(ids) != ids  # a mirror is shuffled
    assert_same(score_recordings(classifier, rows, WINDOW, present=infos[0].present)[0], expected)


def test_scores_do_not_depend_on_the_number_of_processes(tiny, tmp_path, checkpoint, expected):
    info = split_info(str(tiny), "all", "test")
    options = {"window": WINDOW, "checkpoint": str(checkpoint), "quiet": True, "bootstrap": Bootstrap(10)}
    for processes in (1, 2):
        out = tmp_path / str(processes)
        results = evaluate(classifier_for(tiny), info, out, processes=processes, **options)
        assert_same(FileScores.load(out), expected)
        assert metrics_of(FileScores.load(out), info.label_space) == results["metrics"]
        assert not (out / "scoring").exists()


def scored_until(blocks, classifier, info, monkeypatch, stop):
    """Score into blocks; a kill at the ``stop``-th. Returns how many recordings were scored."""
    count, real = [], folder.score_block

    def counted(classifier, rows, *args, **kwargs):
        if len(count) == stop:
            raise KeyboardInterrupt
        count.append(len(rows))
        return real(classifier, rows, *args, **kwargs)

    monkeypatch.setattr(folder, "score_block", counted)
    try:
        rows = info.scored_rows()
        numbers = range(blocks.count(len(rows)))
        blocks.score(classifier, rows, WINDOW, info.present, batch_size=5, numbers=numbers)
    except KeyboardInterrupt:
        pass
    finally:
        monkeypatch.setattr(folder, "score_block", real)
    return sum(count)


def test_a_killed_scoring_goes_on_and_ends_the_same(tiny, tmp_path, expected, monkeypatch):
    classifier, info = classifier_for(tiny), split_info(str(tiny), "all", "test")
    blocks = Blocks(tmp_path / "scoring", plan_of(classifier, info, WINDOW, info.present), 2)
    blocks.prepare()
    assert scored_until(blocks, classifier, info, monkeypatch, 2) == 4
    blocks.prepare()
    (tmp_path / "scoring" / "000002.windows.arrow").write_bytes(b"half")  # killed between a block's two files
    assert scored_until(blocks, classifier, info, monkeypatch, None) == 2  # the finished four are not scored again
    log = blocks.join(tmp_path, {})
    assert len(log.seen) == 6
    assert_same(FileScores.load(tmp_path), expected)


def test_blocks_of_other_weights_windows_or_rows_are_not_used(tiny, tmp_path, monkeypatch):
    classifier, info = classifier_for(tiny), split_info(str(tiny), "all", "test")
    plan = plan_of(classifier, info, WINDOW, info.present)
    with torch.no_grad():
        next(classifier.model.parameters()).add_(1.0)
    assert plan_of(classifier, info, WINDOW, info.present) != plan
    blocks = Blocks(tmp_path / "scoring", plan, 2)
    blocks.prepare()
    scored_until(blocks, classifier, info, monkeypatch, 1)
    assert blocks.path(0, "scores").exists()
    Blocks(tmp_path / "scoring", {**plan, "weights": "others"}, 2).prepare()
    assert not blocks.path(0, "scores").exists()


def test_whole_scores_are_not_made_again_unless_something_changed(tiny, tmp_path, monkeypatch, capsys):
    info, count, real = split_info(str(tiny), "all", "test"), [], folder.score_block
    monkeypatch.setattr(folder, "score_block", lambda *args, **more: count.append(len(args[1])) or real(*args, **more))

    def evaluated(classifier=None, **more):
        options = {"window": WINDOW, "checkpoint": "m", "quiet": True, "bootstrap": Bootstrap(10), **more}
        return evaluate(classifier or classifier_for(tiny), info, tmp_path, **options)

    first = evaluated()
    assert evaluated() == first
    assert evaluated(bootstrap=Bootstrap(11))["metrics"] == first["metrics"]
    assert sum(count) == 1 * len(info.labels)
    evaluated(quiet=False)
    assert "nothing is scored again" in capsys.readouterr().err
    evaluated(rescore=True)
    assert sum(count) == 2 * len(info.labels)
    damaged = (tmp_path / "scores.parquet").read_bytes()
    (tmp_path / "scores.parquet").write_bytes(damaged[:-9])
    assert evaluated() == first
    assert sum(count) == 3 * len(info.labels)
    other = classifier_for(tiny)
    other.feature_extractor.mean += 0.5  # the same weights hear something else
    evaluated(other)
    evaluated(scored="all")
    assert sum(count) == 5 * len(info.labels)


def test_row_groups_are_joined_in_order_from_many_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "ROWS", 7)
    generator = np.random.default_rng(0)
    ids, classes = generator.permutation(50), np.array([2, 5, 9])
    parts = []
    for number, mine in enumerate(np.array_split(ids, 8)):
        n = len(mine)
        scores = {name: generator.random((n, 3)).astype(np.float32) for name in ("mean", "max", "log_mean_exp")}
        place = np.where(mine[:, None] % 3 == 0, np.nan, generator.random((n, 2)))
        windows = (np.arange(n).repeat(2), generator.random((2 * n, 2)), np.full(2 * n, 5), np.full(2 * n, 1))
        part = FileScores(mine, classes[mine % 3], place, scores, classes, *windows)
        table, of_windows = part.tables()
        blocks = Blocks(tmp_path / "scoring", {})
        (tmp_path / "scoring").mkdir(exist_ok=True)
        folder._write(blocks.path(number, "windows"), of_windows)
        about = {**table.schema.metadata, b"inspections": b"[]"}
        folder._write(blocks.path(number, "scores"), table.replace_schema_metadata(about))
        parts.append(part)
    blocks.join(tmp_path, {"split": "test"})
    assert_same(FileScores.load(tmp_path), FileScores.merge(parts))
    assert json.loads((tmp_path / "scores.json").read_text())["recordings"] == 50
    only = FileScores.load(tmp_path, ["max"])
    assert list(only.scores) == ["max"]


def test_evaluated_and_all_classes_can_take_part(tiny):
    info = split_info(str(tiny), "all", "test")
    assert scored_classes(info, "present").tolist() == [0, 1] == scored_classes(info, "evaluated").tolist()
    every = scored_classes(info, "all")
    found, _ = score_recordings(classifier_for(tiny), info.rows(), WINDOW, present=every)
    assert found.mean.shape == (6, 3)
    np.testing.assert_allclose(found.mean.sum(axis=1), 1, atol=1e-5)
    assert metrics_of(found, info.label_space)["mean"]["map"] > 0
    with pytest.raises(ScoresError, match=r"class that is not scored: recording \d+: found label 0"):
        score_recordings(classifier_for(tiny), info.rows(), WINDOW, present=np.array([1]))


def test_weights_that_are_no_numbers_are_one_line(tiny, tmp_path, capsys):
    classifier = classifier_for(tiny)
    with torch.no_grad():
        next(classifier.model.classifier.parameters()).fill_(float("nan"))
    classifier.save(tmp_path)
    words = ["evaluate", str(tmp_path), "--source", str(tiny), "--quiet"]
    assert main(words) == 1
    assert "weights that are no numbers" in capsys.readouterr().err.strip().splitlines()[-1]


def test_files_that_are_not_what_was_written_are_named(tmp_path, expected):
    table, windows = expected.tables()
    write_scores(tmp_path, [table], windows, {})
    assert_same(FileScores.load(tmp_path), expected)
    (tmp_path / "windows.parquet").write_bytes((tmp_path / "scores.parquet").read_bytes())
    with pytest.raises(ScoresError, match=r"windows\.parquet is not the file that scores\.json names"):
        FileScores.load(tmp_path)
    write_scores(tmp_path, [table], windows, {})
    (tmp_path / "scores.json").unlink()  # as an interrupted writing leaves it
    with pytest.raises(ScoresError, match="no usable scores"):
        FileScores.load(tmp_path)


def test_a_table_without_classes_or_with_stray_windows_is_refused(expected):
    table, windows = expected.tables()
    with pytest.raises(KeyError):
        FileScores.from_tables(table.replace_schema_metadata(None), windows)
    with pytest.raises(ValueError, match="no scores"):
        FileScores.from_tables(table.slice(1), windows)
    assert isinstance(Source.parse("official"), Source)
    assert pa.types.is_fixed_size_list(table.schema.field("scores").type)
