"""One thing is changed at a time: whatever was done before is renewed, refused or marked. Else it is taken as it is."""

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hf_inatsounds import fingerprints, load_dataset
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.ranges import open_ranges
from hf_inatsounds.archives.seek_index import read_index
from hf_inatsounds.archives.source_state import audio_state
from hf_inatsounds.audio.windows import WindowSpec
from hf_inatsounds.data import builder
from hf_inatsounds.downstream import benchmark as benchmarks
from hf_inatsounds.downstream import embedding_cache
from hf_inatsounds.downstream.suites import load_suite
from hf_inatsounds.errors import PublishError, RecipeError, SourceError
from hf_inatsounds.evaluation import Bootstrap, evaluate, split_info
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.plan import MirrorSettings
from hf_inatsounds.scoring import folder as scoring
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.records import check_same_data, write_start
from hf_inatsounds.verification import job, verify
from tests.helpers import suites
from tests.helpers.archive import RATE, tone, wav, write_source
from tests.helpers.archive_server import archive_server
from tests.integration.test_evaluation import WINDOW, classifier_for

CODE = {
    "evaluate": "hearing.py", "rows": "playable.py", "publish": "encoding.py", "embed": "windows.py",
    "folds": "probes.py", "verify": "findings.py", "resume": "batches.py", "index": "tar_walk.py",
}  # fmt: skip
"""A file of the code that makes each answer."""


def say(audio, key, value):
    audio["audio"][0][key] = value


def other_sound(made, files):
    """Of the same length: neither the file's nor the archive's size need change."""
    name = made["audio"][0]["file_name"]
    files[name] = wav(tone(900.0, (len(files[name]) - 44) / 2 / RATE, 99))


FACTS = {
    "recording": other_sound,
    "label": lambda made, files: made["annotations"][0].update(category_id=1),
    "place": lambda made, files: say(made, "latitude", 11.5),
    "rights holder": lambda made, files: say(made, "rights_holder", None),
    "common name": lambda made, files: made["categories"][0].update(common_name="another animal"),
}


class World:
    """A source, and a way to change one fact of it or of the rest."""

    def __init__(self, folder, monkeypatch, *, unpacked=False):
        self.folder, self.monkeypatch, self.unpacked = folder, monkeypatch, unpacked
        self.source = folder / "source"
        self.source.mkdir()
        self.place = str(self.source)  # where commands find it
        self.window, self.seed = WINDOW, 0
        self.calls = []
        write_source(self.source, unpacked=unpacked)

    def change(self, fact, command):
        if fact == "code":
            real = fingerprints._source_digest
            other = CODE[command]
            digest = lambda path: "edited" if path.name == other else real(path)  # noqa: E731
            self.monkeypatch.setattr(fingerprints, "_source_digest", digest)
        elif fact == "setting":
            self.window, self.seed = WindowSpec(0.8, 0.5), 1
        else:
            again = self.folder / "again"
            again.mkdir()
            write_source(again, change=lambda stem, made, files: FACTS[fact](made, files), unpacked=self.unpacked)
            for path in sorted(again.rglob("*")):
                there = self.source / path.relative_to(again)
                if path.is_file() and path.read_bytes() != there.read_bytes():
                    shutil.copyfile(path, there)

    def count(self, owner, name):
        """Note each call of what does the work."""
        real = getattr(owner, name)
        self.monkeypatch.setattr(owner, name, lambda *args, **more: self.calls.append(name) or real(*args, **more))


@pytest.fixture
def world(tmp_path, monkeypatch):
    return World(tmp_path, monkeypatch)


def evaluating(world):
    world.count(scoring, "score_block")
    classifier = classifier_for(world.source)

    def answer():
        options = {"window": world.window, "checkpoint": "m", "bootstrap": Bootstrap(5)}
        return evaluate(classifier, split_info(world.place, "all", "test"), world.folder / "scores", **options)

    return answer, classifier


def once_again(world, answer):
    """The first answer, and the same once more without any work."""
    first = answer()
    assert world.calls
    world.calls.clear()
    assert answer() == first
    assert not world.calls
    return first


@pytest.mark.parametrize("fact", [*FACTS, "weight", "config", "extractor", "setting", "code"])
def test_scores_are_made_again_and_a_line_says_why(world, fact, capsys):
    answer, classifier = evaluating(world)
    once_again(world, answer)
    if fact == "weight":
        with torch.no_grad():
            next(classifier.model.parameters()).flatten()[0] += 2**-20
    elif fact == "config":
        classifier.model.config.layer_norm_eps = 0.5
    elif fact == "extractor":
        classifier.feature_extractor.mean += 0.5
    else:
        world.change(fact, "evaluate")
    capsys.readouterr()
    answer()
    assert world.calls
    named = {
        "recording": "source", "weight": "weights", "config": "settings", "extractor": "settings", "code": "code",
        "setting": "window", "label": "annotations", "place": "annotations", "rights holder": "annotations",
        "common name": "annotations",
    }  # fmt: skip
    line = next(one for one in capsys.readouterr().err.splitlines() if "scored again" in one)
    assert named[fact] in line, line


def rows_of(world):
    world.count(builder.INatSounds, "_generate_tables")

    def answer():
        made = load_dataset("all", "test", source=world.place, streaming=False)
        return made.data.table.to_pylist()

    return answer


@pytest.mark.parametrize("kind", ["archives", "tree", "url"])
@pytest.mark.parametrize("fact", [*FACTS, "code"])
def test_prepared_rows_are_those_of_the_source_as_it_is(tmp_path, monkeypatch, kind, fact):
    world = World(tmp_path, monkeypatch, unpacked=kind == "tree")
    with archive_server(world.source) if kind == "url" else contextlib.nullcontext() as server:
        world.place = server.url if server else world.place
        answer = rows_of(world)
        before = once_again(world, answer)
        world.change(fact, "rows")
        found = answer()
        streamed = [dict(row) for row in load_dataset("all", "test", source=world.place)]
    assert world.calls
    assert [row["label"] for row in found] == [row["label"] for row in streamed]
    assert [row["audio"]["bytes"] for row in found] == [row["audio"]["bytes"] for row in streamed]
    assert (found == before) == (fact == "code")


@pytest.mark.parametrize("url", [False, True])
def test_a_stream_never_joins_old_labels_to_a_new_archive(world, url):
    with archive_server(world.source) if url else contextlib.nullcontext() as server:
        place = server.url if server else world.place
        before = [row["label"] for row in load_dataset("all", "test", source=place)]
        world.change("label", "rows")
        after = [row["label"] for row in load_dataset("all", "test", source=place)]
    assert before != after


def test_rows_of_a_source_that_changes_while_they_are_prepared_are_thrown_away(world):
    real = builder.INatSounds._generate_tables

    def replaced(self, *args, **more):
        yield from real(self, *args, **more)
        if not (world.folder / "again").exists():
            world.change("recording", "rows")

    world.monkeypatch.setattr(builder.INatSounds, "_generate_tables", replaced)
    with pytest.raises(SourceError, match="the source was changed while its rows were prepared"):
        load_dataset("all", "test", source=world.place, streaming=False)
    assert len(load_dataset("all", "test", source=world.place, streaming=False)) == 6


def test_scores_of_a_source_that_changes_while_it_is_scored_are_refused(world):
    answer, _ = evaluating(world)
    real = scoring.score_block

    def replaced(*args, **more):
        if not (world.folder / "again").exists():
            world.change("recording", "evaluate")
        return real(*args, **more)

    world.monkeypatch.setattr(scoring, "score_block", replaced)
    with pytest.raises(SourceError, match=r"the source was changed while it was read: .*another test\.tar\.gz"):
        answer()
    assert not (world.folder / "scores" / "scores.json").exists()
    assert answer()["dataset"]["recordings"] == 6


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("fact", [*FACTS, "setting", "code"])
def test_a_mirror_of_something_else_is_refused(tmp_path, monkeypatch, unpacked, fact):
    world = World(tmp_path, monkeypatch, unpacked=unpacked)
    world.count(MirrorBuilder, "_pass_over")

    def answer():
        settings = MirrorSettings(splits=("test",), seed=world.seed, shard_bytes=100_000)
        return MirrorBuilder(world.place, tmp_path / "mirror", settings, quiet=True).build()

    once_again(world, answer)
    world.change(fact, "publish")
    named = {"recording": "recordings", "setting": "settings", "code": "code", "common name": "annotations, classes"}
    with pytest.raises(PublishError, match=f"another mirror: .* one of other .*{named.get(fact, 'annotations')}"):
        answer()
    assert not world.calls


def test_a_begun_mirror_of_something_else_is_refused(world):
    def answer():
        MirrorBuilder(world.place, world.folder / "mirror", MirrorSettings(splits=("test",)), quiet=True).build()

    def killed(*_):
        raise KeyboardInterrupt

    complete = MirrorBuilder._complete
    world.monkeypatch.setattr(MirrorBuilder, "_complete", killed)
    with pytest.raises(KeyboardInterrupt):
        answer()
    world.monkeypatch.setattr(MirrorBuilder, "_complete", complete)
    world.change("rights holder", "publish")
    with pytest.raises(PublishError, match=r"another mirror: .* one of other annotations"):
        answer()


@pytest.mark.parametrize("fact", ["recording", "weight", "setting", "code"])
def test_embeddings_and_folds_follow_what_they_are_made_of(tmp_path, monkeypatch, fact):
    home = suites.esc10(tmp_path / "esc")
    embedder = suites.level_embedder([0.1, 0.3])
    monkeypatch.setattr(benchmarks, "load_embedder", lambda *_, **__: embedder)
    world = World(tmp_path, monkeypatch)
    world.count(embedding_cache, "_embedded")
    real = benchmarks.RUN["linear-probe"]
    monkeypatch.setitem(benchmarks.RUN, "linear-probe", lambda *args: world.calls.append("fold") or real(*args))

    def answer():
        options = benchmarks.Options(cache=str(tmp_path / "cache"), bootstrap=5, seed=world.seed)
        embedder.window = world.window
        return benchmarks.benchmark("m", load_suite("esc10", home), tmp_path / "out", options, quiet=True)

    once_again(world, answer)
    if fact == "recording":
        suites.level(next((home / "audio").glob("1-1100*")), 0.9)
    elif fact == "weight":
        embedder.digest = "another model"
    else:
        CODE["embed and folds"] = "windows.py"
        world.change(fact, "embed and folds")
    answer()
    assert world.calls.count("fold") == 5
    assert world.calls.count("_embedded") == (1 if fact == "recording" else 20)


@pytest.mark.parametrize("url", [False, True])
@pytest.mark.parametrize("fact", [*FACTS, "setting", "code"])
def test_a_verified_archive_is_read_again(world, fact, url):
    world.count(job, "check_split")
    with archive_server(world.source) if url else contextlib.nullcontext() as server:
        place = server.url if server else world.place

        def answer():
            more = {"window_s": world.window.size_s, "cache": world.folder / "cache", "quiet": True}
            found = verify(place, splits=["test"], **more)
            for check in found["splits"].values():
                del check["from_cache"]
            return found

        once_again(world, answer)
        world.change(fact, "verify")
        answer()
    assert world.calls == ["check_split"]


def test_an_index_of_a_replaced_archive_is_refused_and_a_begun_one_begins_anew(world):
    index, source = world.folder / "index", Source.parse(world.place)
    index.mkdir()
    IndexBuild(source, "test", index).run()
    read_index(Source.parse(index), "test").check_archive(open_ranges(source.path("test.tar.gz")))
    begun = IndexBuild(source, "train", index)
    begun._state.next_member = 3
    begun._save()
    assert IndexBuild(source, "train", index)._state.next_member == 3
    with world.monkeypatch.context():
        world.change("code", "index")
        assert IndexBuild(source, "train", index)._state.next_member == 0
    world.change("recording", "index")
    with pytest.raises(SourceError, match="the seek index is of another archive"):
        read_index(Source.parse(index), "test").check_archive(open_ranges(source.path("test.tar.gz")))
    with pytest.raises(SourceError, match="the seek index is of another archive"):
        next(iter(load_dataset("all", "test", source=world.place, index=index)))


@pytest.mark.parametrize("fact", [*FACTS, "code"])
def test_a_resumed_run_refuses_other_labels_and_marks_the_rest(world, fact, capsys):
    out = world.folder / "run"
    recipe = make_recipe({"model": "ast-tiny", "source": world.place, "output_dir": str(out)}, where="here")

    def go_on():
        splits = [split_info(world.place, "all", split) for split in ("train", "validation")]
        if out.exists():
            check_same_data(out, splits)
        write_start(recipe, splits, 1, run="one")
        return json.loads((out / "origin.json").read_text())

    assert go_on() == go_on()
    assert capsys.readouterr().err == ""
    world.change(fact, "resume")
    if fact == "label":
        with pytest.raises(RecipeError, match="the train split has other recordings than the run began with"):
            go_on()
        return
    began = json.loads((out / "origin.json").read_text())
    found = go_on()
    assert f"goes on with another {'code' if fact == 'code' else 'train split'}" in capsys.readouterr().err
    assert [one["code"] for one in found["earlier"]] == [began["code"]]
    assert go_on() == found


def test_a_line_of_scoring_code_makes_scores_of_another_copy_stale(tmp_path):
    """The package itself is edited, not the digest of its source."""
    shutil.copytree(
        Path(fingerprints.__file__).parent, tmp_path / "hf_inatsounds", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = """
import sys
from pathlib import Path
from hf_inatsounds import fingerprints
from hf_inatsounds.evaluation.processes import MADE_BY
for name in ["", *sys.argv[1:]]:
    if name:
        path = Path("hf_inatsounds", name)
        path.write_text(path.read_text() + "\\nX = 1\\n")
    fingerprints._source_digest.cache_clear()
    print(fingerprints.code_fingerprint(*MADE_BY))
"""
    edited = [
        "audio/hearing.py",
        "metrics/pooling.py",
        "frontends/filterbank.py",
        "data/annotations.py",
        "scoring/scores.py",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *edited], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert len(set(done.stdout.split())) == 1 + len(edited)


def test_a_tree_is_known_by_every_file_in_it(tmp_path):
    home = Source.parse(tmp_path)
    for name in ("a/one.wav", "a/two.wav", "b/deep/three.wav"):
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / name).write_bytes(b"RIFF")
    (tmp_path / "train" / "b" / "up").symlink_to(tmp_path / "train")  # a loop ends
    (tmp_path / "train" / "b" / "nothing").symlink_to(tmp_path / "absent")
    before = audio_state(home, ["train"])
    assert audio_state(home, ["train"]) == before
    (tmp_path / "train" / "b" / "deep" / "three.wav").write_bytes(b"RIFX")
    assert audio_state(home, ["train"]) != before
    assert list(before) == ["train/"]


def test_the_version_of_this_package_decides_nothing():
    root = Path(fingerprints.__file__).parent
    users = [str(p.relative_to(root)) for p in sorted(root.rglob("*.py")) if "import __version__" in p.read_text()]
    assert users == ["cli/main.py"]
