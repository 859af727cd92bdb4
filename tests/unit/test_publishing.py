"""The parts of publishing that need no archive: order, encoding, spools."""

import io

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds.data.annotations import parse_annotations
from hf_inatsounds.errors import PublishError, SourceError
from hf_inatsounds.publishing.encoding import Encoded, encode
from hf_inatsounds.publishing.plan import MirrorSettings, make_plan, shuffled
from hf_inatsounds.publishing.spool import Spool
from tests.helpers.archive import document, tone, wav

NOISE = np.random.default_rng(0).uniform(-1, 1, 5_000)


@given(ids=st.lists(st.integers(0, 10**7), unique=True, min_size=2, max_size=50), seed=st.integers(0, 3))
def test_the_shuffle_is_a_permutation_that_no_other_recording_affects(ids, seed):
    order = [ids[i] for i in shuffled(ids, seed=seed, split="train")]
    assert sorted(order) == sorted(ids)
    gone = ids[0]
    rest = ids[1:]
    assert [rest[i] for i in shuffled(rest, seed=seed, split="train")] == [one for one in order if one != gone]


def test_the_shuffle_depends_on_seed_and_split():
    ids = list(range(100))
    orders = [shuffled(ids, seed=seed, split=split) for seed in (0, 1) for split in ("train", "test")]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_decodes_to_exactly_the_wavs_samples(subtype, channels):
    content = wav(np.stack([NOISE] * channels, axis=1), subtype=subtype)
    encoded = encode(content, "flac")
    assert encoded.kept == ""
    assert encoded.content[:4] == b"fLaC"
    for dtype in ("int16", "int32"):
        expected, rate = sf.read(io.BytesIO(content), dtype=dtype)
        found, found_rate = sf.read(io.BytesIO(encoded.content), dtype=dtype)
        assert found_rate == rate
        np.testing.assert_array_equal(found, expected)


def test_flac_of_extreme_samples_is_exact():
    samples = np.array([-32768, 32767, 0, -1, 1] * 3_000, np.int16)
    found, _ = sf.read(io.BytesIO(encode(wav(samples), "flac").content), dtype="int16")
    np.testing.assert_array_equal(found, samples)


WHOLE = wav(NOISE)
LEFT_OUT = {"empty": [b"", wav(np.zeros(0))], "unreadable": [b"no recording", WHOLE[:20]]}
KEPT = {
    "truncated": [WHOLE[:-100]],
    "not lossless as FLAC": [wav(NOISE, subtype="FLOAT"), wav(NOISE, subtype="PCM_32"), wav(NOISE, rate=10**6)],
    "not WAV": [wav(NOISE, form="FLAC")],
}


@pytest.mark.parametrize("reason", KEPT)
def test_what_flac_cannot_carry_over_stays_as_it_is(reason):
    for content in KEPT[reason]:
        assert encode(content, "flac") == Encoded(content, reason)


@pytest.mark.parametrize("audio_format", ["flac", "wav"])
@pytest.mark.parametrize("reason", LEFT_OUT)
def test_what_cannot_be_decoded_is_left_out(reason, audio_format):
    for content in LEFT_OUT[reason]:
        assert encode(content, audio_format) == Encoded(b"", reason)


def test_as_wav_no_byte_changes():
    for content in (WHOLE, *(one for kept in KEPT.values() for one in kept)):
        assert encode(content, "wav").content == content


@settings(max_examples=60)
@given(
    contents=st.lists(st.binary(max_size=30), min_size=1, max_size=5),
    cut=st.integers(0, 200),
    tail=st.binary(max_size=30),
)
def test_a_spool_that_was_cut_off_anywhere_keeps_its_whole_records(tmp_path_factory, contents, cut, tail):
    path = tmp_path_factory.mktemp("spool") / "x.spool"
    spool = Spool(path)
    ends = []
    for row, content in enumerate(contents):
        spool.add(row, Encoded(content, "unreadable"))
        ends.append(path.stat().st_size)
    cut = min(cut, ends[-1])
    path.write_bytes(path.read_bytes()[:cut] + tail)
    whole = sum(end <= cut for end in ends)
    again = Spool(path)
    assert [row in again for row in range(whole)] == [True] * whole
    again.add(99, Encoded(b"new"))
    found = dict(Spool(path).read(iter([99, *reversed(range(whole))])))
    assert found[99] == Encoded(b"new")
    assert {row: found[row].content for row in range(whole)} == dict(enumerate(contents[:whole]))


def test_a_spool_is_whole_only_with_everything_that_came(tmp_path):
    spool = Spool(tmp_path / "x.spool")
    spool.add(1, Encoded(b"one"))
    assert not spool.is_whole
    spool.add(2, Encoded(b"two"))
    spool.mark_whole()
    assert Spool(spool.path).is_whole
    spool.path.write_bytes(spool.path.read_bytes()[:-1])
    assert not Spool(spool.path).is_whole


def plan(shard_bytes=60_000, **more):
    made = {
        split: parse_annotations(document(stem)[0], split=split, where=stem)
        for split, stem in (("train", "train"), ("test", "test"))
    }
    return make_plan(made, MirrorSettings(splits=("train", "test"), shard_bytes=shard_bytes, **more))


def test_each_recording_has_one_place():
    made = plan()
    for split, n in (("train", 12), ("test", 6)):
        rows = [row for shard in made.shards if shard.split == split for row in shard.rows]
        assert sorted(rows) == list(range(n))
    assert len({shard.path for shard in made.shards}) == len(made.shards)


def test_shards_of_the_groups_alternate():
    groups = [shard.group for shard in plan(shard_bytes=20_000).shards if shard.split == "train"]
    assert set(groups[:3]) == {"amphibia-evaluation", "aves-evaluation", "aves-other"}


def test_globs_select_what_their_configuration_says():
    import fnmatch

    made = plan()
    group_sets = {
        "all": {"amphibia-evaluation", "aves-evaluation", "aves-other"},
        "aves": {"aves-evaluation", "aves-other"},
        "evaluation": {"amphibia-evaluation", "aves-evaluation"},
        "amphibia": {"amphibia-evaluation"},
    }
    for name, groups in group_sets.items():
        found = {shard.group for shard in made.shards if fnmatch.fnmatch(shard.path, made.data_files[name]["train"])}
        assert found == groups
    assert list(made.data_files) == ["all", "amphibia", "aves", "evaluation", "annotations"]


def test_a_partial_mirror_offers_only_what_is_whole():
    assert list(plan(configs=("aves",)).data_files) == ["aves", "annotations"]
    assert list(plan(configs=("annotations",)).data_files) == ["annotations"]
    assert not plan(configs=("annotations",)).shards
    with pytest.raises(SourceError, match="unknown dataset name: name: found 'birds'"):
        plan(configs=("birds",))
    with pytest.raises(PublishError, match="unknown audio format: format: found 'mp3'"):
        MirrorSettings(audio_format="mp3")


def test_a_fingerprint_tells_what_changes_bytes():
    made = [plan(), plan(), plan(seed=1), plan(audio_format="wav"), plan(shard_bytes=70_000), plan(configs=("aves",))]
    assert made[0].fingerprint == made[1].fingerprint
    assert len({one.fingerprint for one in made}) == 5


def test_samples_taken_from_the_file_and_samples_read_make_one_flac(monkeypatch):
    odd = WHOLE[:12] + b"LIST" + (3).to_bytes(4, "little") + b"abc\0" + WHOLE[12:]  # an odd chunk before the samples
    for content in (wav(tone(500.0, 3.0, 0)), wav(np.stack([NOISE, -NOISE], axis=1)), odd):
        whole = encode(content, "flac")
        with monkeypatch.context() as slow:
            slow.setattr("hf_inatsounds.publishing.encoding._plain_samples", lambda *_: None)
            slow.setattr("hf_inatsounds.publishing.encoding._BLOCK_FRAMES", 1_000)
            assert encode(content, "flac") == whole
        assert whole.kept == ""
