import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.audio import read_window
from hf_inatsounds.augmentation import WaveformAugmentation, parse_chain
from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.data.mirror import Mirror
from hf_inatsounds.data.mirror_rows import MirrorRows
from hf_inatsounds.data.rows import FolderRows
from hf_inatsounds.training.crops import CropCollator, RecordingList, loudest
from tests.helpers.archive import RATE, tone, wav

WAVE = tone(900.0, 4.0, 0)


def rows(contents, **more):
    return [
        {"recording_id": i, "file_name": f"{i}.wav", "label": i, "epoch": 0, "audio": {"bytes": one, "path": None}}
        | more
        for i, one in enumerate(contents)
    ]


def collator(**more):
    return CropCollator(1.0, 16_000, more.pop("augmentation", WaveformAugmentation()), 400, seed=3, **more)


def test_a_crop_depends_on_its_recording_and_epoch_alone():
    contents = [wav(tone(700.0 + 100 * i, 3.0, i)) for i in range(4)]
    chain = parse_chain([{"name": "AddGaussianSNR", "parameters": {"p": 0.5}}, "Shift"])
    collate = collator(augmentation=WaveformAugmentation(9.0, 0.5, 0.5, 0.5, chain))
    forward = collate(rows(contents))
    backward = collate(rows(contents)[::-1])
    alone = collate(rows(contents)[2:3])
    for i in range(4):
        n = int(forward["lengths"][i])
        assert torch.equal(forward["waveforms"][i, :n], backward["waveforms"][3 - i, :n])
        assert forward["keys"][i] == backward["keys"][3 - i]
    assert torch.equal(alone["waveforms"][0], forward["waveforms"][2, : alone["waveforms"].shape[1]])
    later = collate(rows(contents, epoch=1))
    assert not torch.equal(later["waveforms"], forward["waveforms"])
    assert (later["keys"] != forward["keys"]).all()


def test_several_crops_of_a_recording_lie_next_to_each_other():
    contents = [wav(tone(700.0 + 100 * i, 3.0, i)) for i in range(3)]
    batch = collator(crops_per_recording=2)(rows(contents))
    assert batch["waveforms"].shape == (6, 16_000)
    assert batch["labels"].tolist() == [0, 0, 1, 1, 2, 2]
    assert len(batch["inspections"]) == 3
    assert len(set(batch["keys"].tolist())) == 6
    assert not torch.equal(batch["waveforms"][0], batch["waveforms"][1])
    one = collator()(rows(contents))
    assert torch.equal(one["waveforms"], batch["waveforms"][::2])  # the first crop is what it is without others


def test_a_recording_that_an_epoch_repeats_gets_other_crops():
    first, again = (
        collator(crops_per_recording=2)([{**row, "repetition": k} for row in rows([wav(WAVE)])]) for k in (0, 1)
    )
    assert len({*first["keys"].tolist(), *again["keys"].tolist()}) == 4
    assert not torch.equal(first["waveforms"], again["waveforms"])


def test_each_recording_is_opened_once(monkeypatch):
    from hf_inatsounds.training import crops

    opened = []
    original = crops.Recording
    monkeypatch.setattr(crops, "Recording", lambda audio: opened.append(1) or original(audio))
    collator(crops_per_recording=3)(rows([wav(WAVE, form="FLAC")] * 2))
    assert len(opened) == 2


def flac_cut(share):
    content = wav(np.random.default_rng(0).standard_normal(4 * RATE) * 0.1, form="FLAC")
    return content[: int(len(content) * share)]


def test_what_is_wrong_with_a_recording_is_counted():
    nan = wav(np.full(4 * RATE, np.nan), subtype="FLOAT")
    stereo = wav(np.stack([WAVE, WAVE], 1))
    contents = [b"", b"junk" * 50, wav(WAVE), stereo, wav(WAVE)[:40_000], wav(WAVE[:100]), flac_cut(0.02), nan]
    batch = collator()(rows(contents))
    kinds = [one.kinds for one in batch["inspections"]]
    assert kinds[:6] == [("empty",), ("unreadable",), (), ("wrong-format",), ("truncated",), ("near-empty",)]
    assert kinds[6] in (("truncated",), ("unreadable",))
    assert kinds[7] == ("unreadable",)
    assert batch["weights"].tolist()[:6] == [0, 0, 1, 1, 1, 1]
    assert batch["weights"][7] == 0
    assert torch.isfinite(batch["waveforms"]).all()


def test_a_recording_cut_short_gives_its_beginning_and_is_called_truncated():
    batch = collator()([{**rows([flac_cut(0.4)])[0], "recording_id": i} for i in range(12)])
    assert (batch["weights"] == 1).all()
    assert ("truncated",) in {one.kinds for one in batch["inspections"]}


def test_a_missing_file_is_unreadable(tmp_path):
    batch = collator()(rows([None], audio={"bytes": None, "path": str(tmp_path / "gone.wav")}))
    assert batch["inspections"][0].kinds == ("unreadable",)
    assert batch["weights"].tolist() == [0]


def test_the_digest_is_taken_once_a_run_whoever_reads(tmp_path):
    table = table_of(tmp_path, 6)
    listed = RecordingList(FolderRows(table, Source.parse(tmp_path)))
    for epoch in range(2):
        listed.set_epoch(epoch)
        loader = DataLoader(listed, batch_size=2, num_workers=2, collate_fn=collator())
        digests = [one.digest for batch in loader for one in batch["inspections"]]
        assert all((digest is None) == (epoch == 1) for digest in digests)


def test_the_number_of_workers_changes_nothing(tmp_path):
    listed = RecordingList(FolderRows(table_of(tmp_path, 9), Source.parse(tmp_path)))
    order = listed.order(seed=4, epoch=0, step_items=4).tolist()
    batches = [order[:4], order[4:8], order[8:]]
    found = []
    for workers in (0, 1, 3):
        loader = DataLoader(listed, batch_sampler=batches, num_workers=workers, collate_fn=collator())
        found.append([(batch["labels"], batch["waveforms"]) for batch in loader])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert torch.equal(one[0], two[0])
            assert torch.equal(one[1], two[1])


def test_energy_finds_the_call():
    quiet = np.random.default_rng(0).standard_normal(10 * RATE) * 1e-3
    quiet[6 * RATE : 7 * RATE] += tone(3_000.0, 1.0, 0)[:RATE]
    content = wav(quiet)

    def loud(choice):
        batch = collator(crop_choice=choice)([{**rows([content])[0], "recording_id": i} for i in range(60)])
        return float((batch["waveforms"].square().mean(1) > 1e-4).float().mean())

    assert loud("energy") > 1.7 * loud("uniform")


def test_the_loudest_span_is_above_the_rumble():
    class Open:
        samples = np.concatenate([np.sin(np.arange(1_000) * 0.01), 0.1 * np.sin(np.arange(1_000) * 2.0)])

        def read_samples(self, start, stop):
            return self.samples[start:stop].astype(np.float32)

    assert loudest(Open(), [(0, 1_000), (1_000, 2_000)]) == (1_000, 2_000)


def table_of(folder, n):
    for i in range(n):
        (folder / f"{i}.wav").write_bytes(wav(tone(500.0 + 50 * i, 1.5 + 0.2 * i, i)))
    return pa.table(
        {
            "recording_id": list(range(n)),
            "label": [i % 3 for i in range(n)],
            "file_name": [f"{i}.wav" for i in range(n)],
            "latitude": [None] * n,
            "longitude": [None] * n,
        }
    )


def shards_of(folder, n, group_rows):
    table = table_of(folder, n)
    audio = [{"bytes": (folder / f"{i}.wav").read_bytes(), "path": f"{i}.wav"} for i in range(n)]
    table = table.append_column("audio", pa.array(audio))
    names = ["data/0/train-0.parquet", "data/0/train-1.parquet"]
    (folder / "data/0").mkdir(parents=True)
    pq.write_table(table.slice(0, n // 2), folder / names[0], row_group_size=group_rows)
    pq.write_table(table.slice(n // 2), folder / names[1], row_group_size=group_rows)
    (folder / "manifest.json").write_text("{}")
    return Mirror(str(folder), None, {"files": [{"path": name} for name in names]}, folder=folder)


def mirror_rows(mirror, table):
    return MirrorRows(mirror, Annotations("train", table, LabelSpace(())))


@pytest.mark.parametrize("group_rows", [1, 3, 100])
def test_a_mirrors_rows_come_in_any_order(tmp_path, group_rows):
    source = mirror_rows(shards_of(tmp_path, 11, group_rows), table_of(tmp_path, 11))
    assert len(source) == 11
    numbers = [7, 0, 10, 7, 3]
    for number, row in zip(numbers, source.take(numbers), strict=True):
        assert row["recording_id"] == number
        assert bytes(row["audio"]["bytes"]) == (tmp_path / f"{number}.wav").read_bytes()
    order = source.order(np.random.default_rng(0), 4)
    assert sorted(order.tolist()) == list(range(11))
    assert order.tolist() != list(range(11))
    assert source.labels().tolist() == [row["label"] for row in source.take(range(11))]


def test_a_mirrors_row_group_is_read_once_per_epoch(tmp_path, monkeypatch):
    source = mirror_rows(shards_of(tmp_path, 12, 3), table_of(tmp_path, 12))
    read, real = [], pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda file, i, **more: (read.append(i), real(file, i, **more))[1]
    )
    order = source.order(np.random.default_rng(1), 2)
    for batch in order.reshape(-1, 2).tolist():
        source.take(batch)
    assert len(read) == 4


def test_a_mirror_and_a_folder_give_the_same_crops(tmp_path):
    mirror, folder = (
        RecordingList(mirror_rows(shards_of(tmp_path, 5, 2), table_of(tmp_path, 5))),
        FolderRows(table_of(tmp_path, 5), Source.parse(tmp_path)),
    )
    numbers = [3, 1, 4]
    one, two = (collator()(listed.__getitems__(numbers)) for listed in (mirror, RecordingList(folder)))
    assert torch.equal(one["waveforms"], two["waveforms"])


@given(st.floats(0.01, 5.0), st.sampled_from([8_000, 16_000, 22_050, 32_000]), st.integers(0, 2**31))
@settings(max_examples=30)
def test_a_crop_is_as_long_as_asked_or_as_the_recording(size_s, rate, recording_id):
    batch = CropCollator(size_s, rate, WaveformAugmentation(), 1, seed=0)(
        [{**rows([CONTENT])[0], "recording_id": recording_id}]
    )
    expected = min(round(size_s * rate), round(len(WAVE) * rate / RATE))
    assert abs(int(batch["lengths"][0]) - max(expected, 1)) <= 1


CONTENT = wav(WAVE)


def test_a_full_crop_is_a_slice_of_the_recording():
    batch = CropCollator(1.0, RATE, WaveformAugmentation(), 1, seed=0)(rows([CONTENT]))
    crop, whole = batch["waveforms"][0].numpy(), read_window(CONTENT)
    starts = np.flatnonzero(whole == crop[0])
    assert any(np.array_equal(whole[start : start + len(crop)], crop) for start in starts)
