"""Every source gives the same rows, batches and scores, and sends what is wanted and little more."""

import json
import random
import shutil
from functools import partial
from itertools import pairwise

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import skip_first_batches

from hf_inatsounds import evaluate, load_dataset
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.audio import read_window
from hf_inatsounds.audio.defects import content_of
from hf_inatsounds.audio.encoded import embedded
from hf_inatsounds.data.rows import ArrowRows, ForwardRows
from hf_inatsounds.data.selection import Selection
from hf_inatsounds.data.split_info import chosen_annotations, split_info
from hf_inatsounds.errors import SourceError
from hf_inatsounds.publishing.hub import HubTarget
from hf_inatsounds.publishing.mirror import MirrorBuilder
from hf_inatsounds.publishing.plan import MirrorSettings
from hf_inatsounds.publishing.shards import file_record
from hf_inatsounds.training.batches import GlobalBatches, Part, crop_loader
from hf_inatsounds.training.crops import RecordingList
from hf_inatsounds.training.validation import open_rows
from tests.helpers.archive import pack, wav, write_source
from tests.helpers.archive_server import archive_server
from tests.helpers.hub_in_process import talk_to
from tests.helpers.hub_server import hub_server
from tests.helpers.hub_storage import TOKEN
from tests.integration.test_evaluation import classifier_for

SPECIES, PER_SPECIES, SAMPLES = 48, 40, 64_000
BLOCK_BYTES = 9 << 19
"""Between two seek points, about."""


def write_large(folder):
    """48 species of 40 recordings of 128 kB of noise: 246 MB in the order of species, in 59 blocks."""
    rng = np.random.default_rng(0)
    names = ("kingdom", "phylum", "class", "order", "family", "genus", "specific_epithet")
    categories, audio, annotations, files = [], [], [], {}
    for i in range(SPECIES):
        ranks = ("Animalia", "Chordata", "Aves", "O", f"Family{i // 10}", f"Genus{i // 3}", f"s{i}")
        where = f"{i:05d}_" + "_".join(ranks)
        categories.append({
            "id": i, "name": f"{ranks[5]} {ranks[6]}", "common_name": "", "supercategory": "Aves",
            **dict(zip(names, ranks, strict=True)), "audio_dir_name": where, "evaluation": 1,
        })  # fmt: skip
        for k in range(PER_SPECIES):
            number = i * PER_SPECIES + k
            name = f"train/{where}/{number:08d}.wav"
            files[name] = wav(np.frombuffer(rng.bytes(2 * SAMPLES), "<i2"))
            audio.append({
                "id": number, "duration": SAMPLES / 22_050, "file_name": name, "license": 1 + k % 2,
                "rights_holder": "somebody", "date": f"20{10 + k}-05-01", "latitude": float(i), "longitude": 0.0,
                "location_uncertainty": None,
            })  # fmt: skip
            annotations.append({"id": number, "audio_id": number, "category_id": i})
    licenses = [{"id": 1, "name": "CC0 1.0", "url": ""}, {"id": 2, "name": "CC BY-NC 4.0", "url": ""}]
    document = {"info": {}, "audio": audio, "categories": categories, "annotations": annotations, "licenses": licenses}
    pack(folder / "train.tar.gz", files, level=0)  # its bytes do not compress
    pack(folder / "train.json.tar.gz", {"train.json": json.dumps(document).encode()})
    IndexBuild(Source.parse(folder), "train", folder / "index", spacing=1 << 17).run()
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    (folder / "index").mkdir()
    return write_large(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """One dataset in each shape: name → (source, index)."""
    folder = tmp_path_factory.mktemp("world")
    for name in ("archives", "tree", "index", "mirror", "flac"):
        (folder / name).mkdir()
    archives = write_source(folder / "archives")
    for stem in ("train", "val", "test"):
        IndexBuild(Source.parse(archives), stem, folder / "index", spacing=1 << 16).run()
    for name, form in (("mirror", "wav"), ("flac", "flac")):
        MirrorBuilder(str(archives), folder / name, MirrorSettings(audio_format=form), quiet=True).build()
    return {
        "archives": (str(archives), ""),
        "index": (str(archives), str(folder / "index")),
        "tree": (str(write_source(folder / "tree", unpacked=True)), ""),
        "mirror": (str(folder / "mirror"), ""),
        "flac": (str(folder / "flac"), ""),
    }


SELECTIONS = [
    None,
    {"family": "Turdusidae"},
    {"supercategory": "Aves", "max_per_class": 2, "relabel": True},
    {"box": [9, -21, 10.5, -19]},
]
SHAPES = ["archives", "index", "tree", "mirror", "flac"]


def rows_by_id(rows):
    kept = {}
    for row in rows.cast_column("audio", datasets.Audio(decode=False)):
        kept[row["recording_id"]] = {
            **row,
            "audio": None if "flac" in (row["audio"]["path"] or "") else row["audio"]["bytes"],
        }
    return kept


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_load_dataset_gives_the_same_rows_of_every_source(world, shape, select, streaming):
    source, index = world["archives"]
    expected = rows_by_id(load_dataset(split="train", source=source, select=select))
    source, index = world[shape]
    found = load_dataset(split="train", source=source, index=index or None, select=select, streaming=streaming)
    assert (
        found.features["label"].names
        == load_dataset(split="train", source=world["archives"][0], select=select).features["label"].names
    )
    rows = rows_by_id(found)
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        same = {**expected[key], **({"audio": None} if row["audio"] is None else {})}
        assert {**row, "defect": same["defect"]} == same


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_columns_without_audio_read_no_recording(world, shape, monkeypatch):
    source, index = world[shape]
    monkeypatch.setattr("hf_inatsounds.data.mirror_rows.MirrorRows._recording", lambda *_: pytest.fail("read"))
    rows = load_dataset(
        split="test", source=source, index=index or None, columns=["species", "label"], select={"family": "Ranaidae"}
    )
    assert [set(row) for row in rows] == [{"species", "label"}] * 3


def epoch(rows, part, workers=0, passed=0, seed=1):
    """What a process trains on: ids of each batch, and their sound's digests."""

    def collate(found):
        return {
            "ids": [(row["recording_id"], hash(bytes(content_of(row["audio"])))) for row in found],
            "weights": torch.ones(len(found)),
        }

    batches = GlobalBatches(rows, len(rows), part, seed=seed)
    batches.set_epoch(0, passed)
    made = skip_first_batches(crop_loader(batches, collate, workers=workers, pin_memory=False), passed)
    return [[one for one, counts in zip(batch["ids"], batch["weights"], strict=True) if counts] for batch in made]


@pytest.mark.parametrize("select", SELECTIONS)
def test_training_reads_the_same_recordings_from_every_source(world, select):
    found = {}
    for shape in SHAPES:
        source, index = world[shape]
        info = split_info(source, "all", "train", index, select)
        rows = open_rows(info, streaming=bool(index))
        assert not isinstance(rows, ForwardRows)
        batches = epoch(RecordingList(rows), Part(2))
        assert sorted(map(len, batches))[1:] == [2] * (len(batches) - 1)
        found[shape] = sorted(one for batch in batches for one in batch)
    flac = found.pop("flac")
    assert [one for one, _ in flac] == [one for one, _ in found["tree"]]
    for shape, ids in found.items():
        assert ids == found["tree"], shape


def test_scores_are_the_same_of_every_source(world):
    expected = {}
    for shape in SHAPES:
        source, index = world[shape]
        info = split_info(source, "all", "test", index, {"family": ["Turdusidae", "Ranaidae"]})
        scored = info.scored_rows()
        rows = [row for part in scored.parts([(0, 4), (4, len(scored))]) for row in part]
        assert len(rows) == len(info.labels)
        for row in rows:
            known = {key: row[key] for key in ("label", "file_name", "latitude", "longitude")}
            known["sound"] = read_window(embedded(row["audio"])).tobytes()
            assert expected.setdefault(row["recording_id"], known) == known


PARTS = [(1, 0), (2, 0), (4, 0), (1, 2)]


@pytest.mark.parametrize("kind", ["index", "mirror"])
def test_no_process_reads_what_another_trains_on(large, tmp_path, kind):
    """Bytes of all processes are at most 1.1 times those of one, and the batches are the same."""
    if kind == "mirror":
        import hf_inatsounds.publishing.shards as shards

        before, shards.ROW_GROUP_ROWS = shards.ROW_GROUP_ROWS, 4
        try:
            settings = MirrorSettings(splits=("train",), audio_format="wav", shard_bytes=20_000_000)
            MirrorBuilder(str(large), tmp_path, settings, quiet=True).build()
        finally:
            shards.ROW_GROUP_ROWS = before
    with archive_server(large) as server:
        source, index = (server.url, str(large / "index")) if kind == "index" else (str(tmp_path), "")
        sent, whole = {}, None
        for processes, workers in PARTS:
            server.log.clear()
            read, steps = [], []
            for process in range(processes):
                rows = split_info(source, "all", "train", index).by_number()
                if kind == "mirror":
                    rows._bytes = partial(_counted, rows._bytes, read)
                steps.append(epoch(RecordingList(rows), Part(8 // processes, process, processes), workers))
            batches = [sorted(one for batch in step for one in batch) for step in zip(*steps, strict=True)]
            whole = whole or batches
            assert batches == whole
            sent[processes, workers] = server.log.sent_bytes["train.tar.gz"] if kind == "index" else len(read)
        del sent[1, 2]  # of the workers here only that they change nothing: there are too few blocks for them
    first = sent[1, 0]
    assert {key: round(n / first, 2) for key, n in sent.items() if n > 1.1 * first} == {}
    if kind == "index":
        assert first <= 1.15 * (large / "train.tar.gz").stat().st_size


def _counted(real, read, *span):
    read.append(span)
    return real(*span)


@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_scoring_in_parts_sends_the_archive_once(large, processes):
    with archive_server(large) as server:
        info = split_info(server.url, "all", "train", str(large / "index"))
        server.log.clear()
        ids = []
        for process in range(processes):
            rows = info.scored_rows()
            parts = [(n, n + 240) for n in range(0, len(rows), 240)]
            ids += [row["recording_id"] for part in rows.parts(parts[process::processes]) for row in part]
        assert sorted(ids) == list(range(SPECIES * PER_SPECIES))
        assert server.log.sent_bytes["train.tar.gz"] <= 1.1 * (large / "train.tar.gz").stat().st_size + 8 * BLOCK_BYTES


def test_a_list_of_species_sends_their_bytes(large, tmp_path):
    chosen = random.Random(0).sample(range(SPECIES), 8)
    document = chosen_annotations(str(large), Selection(), "train")
    (tmp_path / "list.txt").write_text("\n".join(document.label_space.species[i] for i in chosen))
    select = [f"species=@{tmp_path}/list.txt"]
    with archive_server(large) as server:
        rows = load_dataset(split="train", source=server.url, index=str(large / "index"), select=select)
        server.log.clear()
        ids = [row["recording_id"] for row in rows]
        sent = server.log.sent_bytes["train.tar.gz"]
        wanted = [row for row in load_dataset(split="train", source=str(large)) if row["label"] in chosen]
    assert ids == [row["recording_id"] for row in wanted]
    assert sent <= 1.3 * sum(len(row["audio"]["bytes"]) for row in wanted) + 8 * BLOCK_BYTES


def test_going_on_in_an_epoch_fetches_what_is_left(large):
    with archive_server(large) as server:
        info = split_info(server.url, "all", "train", str(large / "index"))
        whole = epoch(RecordingList(info.by_number()), Part(8))
        passed = round(0.9 * 240)
        server.log.clear()
        assert epoch(RecordingList(info.by_number()), Part(8), passed=passed) == whole[passed:]
        sent = server.log.sent_bytes["train.tar.gz"]
    assert sent <= 0.6 * (large / "train.tar.gz").stat().st_size  # blocks are read from their beginnings on


def test_a_few_validation_recordings_cost_a_few(large):
    with archive_server(large) as server:
        info = split_info(server.url, "all", "train", str(large / "index"))
        numbers = sorted(random.Random(0).sample(range(len(info.labels)), 20))
        server.log.clear()
        found = [
            row["recording_id"] for part in info.scored_rows().parts([(n, n + 1) for n in numbers]) for row in part
        ]
        assert found == numbers
        assert server.log.sent_bytes["train.tar.gz"] <= 20 * BLOCK_BYTES


def test_a_selection_without_an_index_ends_with_its_last_recording(large):
    select = {"family": "Family0"}
    with archive_server(large) as server:
        rows = load_dataset(split="train", source=server.url, select=select)
        server.log.clear()
        assert len([row["recording_id"] for row in rows]) == 10 * PER_SPECIES
        assert server.log.sent_bytes["train.tar.gz"] <= 0.5 * (large / "train.tar.gz").stat().st_size


def test_a_shuffled_part_of_a_mirror_resumes(world):
    source, _ = world["mirror"]
    rows = load_dataset(split="train", source=source, select={"supercategory": "Aves"}).shuffle(seed=3)
    ids = [row["recording_id"] for row in rows]
    assert ids != sorted(ids)
    stream = iter(rows)
    for _ in range(3):
        next(stream)
    again = load_dataset(split="train", source=source, select={"supercategory": "Aves"}).shuffle(seed=3)
    again.load_state_dict(rows.state_dict())
    assert [row["recording_id"] for row in again] == ids[3:]
    assert any(one > two for one, two in pairwise(ids))


@pytest.fixture
def hub(large, tmp_path, monkeypatch):
    """A private mirror on the Hub, its row groups as long as the official ones, in recordings."""
    monkeypatch.setattr("hf_inatsounds.publishing.shards.ROW_GROUP_ROWS", 20)
    settings = MirrorSettings(splits=("train",), audio_format="wav", shard_bytes=16_000_000)
    folder = tmp_path / "mirror"
    manifest = MirrorBuilder(str(large), folder, settings, quiet=True).build()
    with hub_server(tmp_path / "hub") as server:
        talk_to(server, tmp_path / "home", monkeypatch)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        target = HubTarget("me/sounds", quiet=True)
        target.open()
        target.upload(folder, manifest)
        server.ranged_bytes.clear()
        yield server


def audio_bytes(hub):
    return sum(n for path, n in hub.ranged_bytes.items() if path.startswith("data/"))


def test_a_few_species_of_a_mirror_on_the_hub_send_their_bytes(hub, large):
    select = {"species": ["Genus0 s0", "Genus7 s21"]}
    wanted = {
        row["recording_id"]: row["audio"]["bytes"] for row in load_dataset(split="train", source=large, select=select)
    }
    rows = load_dataset(split="train", source="me/sounds", select=select)
    hub.ranged_bytes.clear()
    assert {row["recording_id"]: row["audio"]["bytes"] for row in rows} == wanted
    assert audio_bytes(hub) <= 1.1 * sum(map(len, wanted.values()))
    assert [
        row["species"] for row in load_dataset(split="train", source="me/sounds", columns=["species"], select=select)
    ]


def test_processes_divide_a_mirror_on_the_hub(hub):
    sent = []
    for processes in (1, 4):
        hub.ranged_bytes.clear()
        for process in range(processes):
            rows = split_info("me/sounds", "all", "train").by_number()
            epoch(RecordingList(rows), Part(16 // processes, process, processes))
        sent.append(audio_bytes(hub))
    whole = SPECIES * PER_SPECIES * (2 * SAMPLES + 44)
    assert sent[0] <= 1.05 * whole
    assert sent[1] <= 1.1 * sent[0]


@pytest.mark.parametrize("shape", ["index", "mirror"])
def test_what_a_batched_map_makes_of_one_row_parts(world, shape):
    source, index = world[shape]
    rows = load_dataset(split="train", source=source, index=index or None, select={"license": "CC BY 4.0"})
    thrice = rows.select_columns(["recording_id"]).map(
        lambda batch: {"recording_id": 3 * batch["recording_id"]}, batched=True
    )
    ids = [row["recording_id"] for row in thrice.shuffle(seed=0)]
    assert sorted(ids) == sorted(3 * list(range(12)))
    assert sum(one == two for one, two in pairwise(ids)) < 12


def test_several_processes_are_told_what_an_archive_without_an_index_costs(tiny, tmp_path, capsys):
    path = tmp_path / "checkpoint"
    classifier_for(tiny).save(path)
    evaluate(path, tiny, out=tmp_path / "out", processes=2)
    assert "each of 2 processes reads the archive from its beginning" in capsys.readouterr().err


def spoil(stem, document, files):
    """An empty file, one cut short, and text, in every split."""
    names = [audio["file_name"] for audio in document["audio"]]
    files[names[0]], files[names[1]], files[names[2]] = b"", files[names[1]][:20_000], b"no sound"


def test_damaged_recordings_are_scored_and_counted_alike_from_every_source(tmp_path):
    for name in ("archives", "tree", "index"):
        (tmp_path / name).mkdir()
    archives = write_source(tmp_path / "archives", change=spoil)
    tree = write_source(tmp_path / "tree", change=spoil, unpacked=True)
    IndexBuild(Source.parse(archives), "test", tmp_path / "index").run()
    classifier_for(archives).save(tmp_path / "checkpoint")
    found = [
        evaluate(tmp_path / "checkpoint", source, index=index, out=tmp_path / f"out{i}", quiet=True)
        for i, (source, index) in enumerate(((archives, None), (archives, tmp_path / "index"), (tree, None)))
    ]
    assert found[0]["defects"]["heard"]
    for one in found[1:]:
        assert counted(one["defects"]) == counted(found[0]["defects"])
        assert one["metrics"] == found[0]["metrics"]


def counted(defects):
    """Without the words in which a reason is told: rows of a stream hold silence in place of what does not decode."""
    heard = [(one["recording_id"], one["status"]) for one in defects["heard"]]
    return {**defects, "heard": heard}


def test_a_small_selection_is_permuted_as_a_whole_and_its_blocks_are_read_once(large):
    select = {"genus": ["Genus0", "Genus9"]}
    with archive_server(large) as server:
        rows = load_dataset(split="train", source=server.url, index=str(large / "index"), select=select)
        server.log.clear()
        orders = [[row["recording_id"] for row in rows.shuffle(seed=seed)] for seed in (0, 1)]
        sent = server.log.sent_bytes["train.tar.gz"]
        shuffled = rows.shuffle(seed=0)
        stream = iter(shuffled)
        for _ in range(200):
            next(stream)
        again = rows.shuffle(seed=0)
        again.load_state_dict(shuffled.state_dict())
        server.log.clear()
        assert [row["recording_id"] for row in again] == orders[0][200:]
    assert sorted(orders[0]) == sorted(orders[1]) == [row["recording_id"] for row in rows_of(large, select)]
    kept = sum(one + 1 == two for one, two in pairwise(orders[0]))
    assert kept < 10  # of 239 pairs; neighbours in the archive part
    assert sent <= 2 * (240 * 2 * SAMPLES + 4 * BLOCK_BYTES)


def rows_of(source, select):
    return list(load_dataset(split="train", source=source, select=select))


@pytest.mark.parametrize("shape", [*SHAPES, "prepared"])
def test_a_part_is_read_a_row_at_a_time_and_ends_with_the_rows(world, shape):
    """Annotated recordings may be missing: who asks for all that are annotated gets those that there are."""
    source, index = world["archives" if shape == "prepared" else shape]
    info = split_info(source, "all", "test", index)
    rows = ArrowRows(info.rows(streaming=False)) if shape == "prepared" else info.scored_rows()
    found = [[row["recording_id"] for row in part] for part in rows.parts([(1, 4), (5, 50), (60, 70)])]
    assert [len(one) for one in found] == [3, 1, 0]
    assert len(set().union(*found)) == 4


def test_a_whole_split_read_forward_is_never_held():
    """As a validation on the full split asks for it: in one part."""
    pulled = []

    def counted():
        for number in range(1_000):
            pulled.append(number)
            yield {"recording_id": number}

    rows = ForwardRows.__new__(ForwardRows)
    rows._rows, rows._n_rows = counted(), 1_000
    part = next(rows.parts([(0, 1_000)]))
    assert next(part)["recording_id"] == 0
    assert len(pulled) == 1


@pytest.mark.parametrize(("column", "value"), [("offset", -1), ("size", -5), ("size", 1 << 40), ("offset", 1 << 62)])
def test_a_mirror_that_points_out_of_its_files_is_refused(world, tmp_path, column, value):
    shutil.copytree(world["mirror"][0], tmp_path / "mirror")
    name = "row_groups/train.parquet"
    table = pq.read_table(tmp_path / "mirror" / name)
    values = [value, *table[column].to_pylist()[1:]]
    at = table.schema.get_field_index(column)
    pq.write_table(table.set_column(at, column, pa.array(values, pa.int64())), tmp_path / "mirror" / name)
    manifest = json.loads((tmp_path / "mirror/manifest.json").read_text())
    others = [one for one in manifest["files"] if one["path"] != name]
    manifest["files"] = [*others, file_record(tmp_path / "mirror" / name, name)]
    (tmp_path / "mirror/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SourceError, match="outside of its file"):
        load_dataset(split="train", source=tmp_path / "mirror", select={"license": "CC BY 4.0"})
