import io

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds.archives.forward import iterate_members
from hf_inatsounds.audio import Recording, probe, read_window
from hf_inatsounds.audio.ogg import pages
from hf_inatsounds.audio.wav import plain_wav
from hf_inatsounds.errors import AudioError
from tests.helpers.archive import RATE, tone, wav

WAVE = tone(900.0, 4.0, 0)


def test_a_window_is_the_slice_of_the_whole():
    whole = read_window(wav(WAVE))
    window = read_window(wav(WAVE), 1.25, 0.5)
    start = round(1.25 * RATE)
    np.testing.assert_array_equal(window, whole[start : start + round(0.5 * RATE)])
    assert window.dtype == np.float32


@pytest.mark.parametrize(
    ("form", "subtype"), [("FLAC", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("AIFF", "PCM_16")]
)
def test_lossless_formats_give_the_samples(form, subtype):
    np.testing.assert_allclose(
        read_window(wav(WAVE, subtype=subtype, form=form), 1.0, 1.0), WAVE[RATE : 2 * RATE], atol=1e-4
    )


@pytest.mark.parametrize(("form", "subtype"), [("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")])
def test_lossy_formats_give_nearly_the_samples(form, subtype):
    window = read_window(wav(WAVE, subtype=subtype, form=form), 1.0, 1.0)
    assert len(window) == RATE
    assert np.corrcoef(window, WAVE[RATE : 2 * RATE])[0, 1] > 0.98


def test_channels_are_averaged():
    stereo = np.stack([np.full(1000, 0.5), np.full(1000, -0.1)], axis=1)
    np.testing.assert_allclose(read_window(wav(stereo)), 0.2, atol=1e-4)


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.sampled_from([None, 8_000, 16_000, 22_050, 32_000, 48_000]))
@settings(max_examples=60)
def test_a_window_has_the_length_that_was_asked_for_or_ends_with_the_recording(offset_s, duration_s, rate):
    start = min(round(offset_s * RATE), len(WAVE))
    stop = min(start + round(duration_s * RATE), len(WAVE))
    expected = round((stop - start) * (rate or RATE) / RATE)
    assert len(read_window(CONTENT, offset_s, duration_s, rate)) == expected


CONTENT = wav(WAVE)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_resampled_window_is_the_slice_of_the_resampled_whole(rate):
    sine = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)
    whole = read_window(wav(sine, subtype="FLOAT"), sampling_rate=rate)
    window = read_window(wav(sine, subtype="FLOAT"), 1.0, 0.5, rate)
    np.testing.assert_allclose(window, whole[rate : rate + len(window)], atol=2e-3)
    # its edges too: the filter had samples beside them
    np.testing.assert_allclose(window[:20], whole[rate : rate + 20], atol=2e-3)


@pytest.mark.parametrize("rate", [250, 1_000, 22_050, 96_000])
@pytest.mark.parametrize("new", [16_000, 32_000])
def test_a_window_is_that_of_the_whole_at_every_rate(rate, new):
    noise = 0.2 * np.random.default_rng(0).standard_normal(6 * rate).astype(np.float32)
    whole = read_window({"array": noise, "sampling_rate": rate}, sampling_rate=new)
    for start_s, size_s in ((0.0, 2.0), (2.0, 2.0), (4.0, 2.0)):
        window = read_window({"array": noise, "sampling_rate": rate}, start_s, size_s, new)
        start = round(start_s * new)
        np.testing.assert_allclose(window, whole[start : start + len(window)], atol=2e-6)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    high = 0.5 * np.sin(2 * np.pi * 10_000 * np.arange(RATE) / RATE)
    assert np.abs(read_window(wav(high, subtype="FLOAT"), 0.2, 0.5, 16_000)).max() < 1e-3


def test_a_window_past_the_end_is_empty():
    assert len(read_window(CONTENT, 9.0, 1.0)) == 0
    assert len(read_window(CONTENT, 9.0, 1.0, 16_000)) == 0


def test_audio_may_be_a_row_bytes_or_a_path(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(CONTENT)
    expected = read_window(CONTENT, 0.0, 0.1)
    for audio in (
        path,
        str(path),
        {"bytes": CONTENT, "path": "x.wav"},
        {"bytes": None, "path": str(path)},
        bytearray(CONTENT),
    ):
        np.testing.assert_array_equal(read_window(audio, 0.0, 0.1), expected)


def test_only_the_window_is_decoded(monkeypatch):
    asked = []
    original = sf.SoundFile.read
    monkeypatch.setattr(sf.SoundFile, "read", lambda self, n=-1, *a, **k: asked.append(n) or original(self, n, *a, **k))
    flac = wav(WAVE, form="FLAC")
    read_window(flac, 1.0, 0.5)
    read_window(flac, 1.0, 0.5, 16_000)
    assert max(asked) <= round(0.55 * RATE)


def test_the_header_is_probed_without_decoding(monkeypatch):
    monkeypatch.setattr(sf.SoundFile, "read", None)
    info = probe(wav(np.zeros((RATE, 2)), form="FLAC"))
    assert (info.n_samples, info.sampling_rate, info.n_channels, info.truncated) == (RATE, RATE, 2, False)
    assert info.duration_s == 1.0


def test_a_truncated_wav_is_read_as_far_as_it_goes():
    cut = CONTENT[: len(CONTENT) // 2]
    assert probe(cut).truncated
    assert not probe(CONTENT).truncated
    np.testing.assert_array_equal(read_window(cut), read_window(CONTENT)[: (len(cut) - 44) // 2])


def test_a_streamed_wav_of_open_length_is_not_called_truncated():
    head = CONTENT[:40] + (0xFFFFFFFF).to_bytes(4, "little")
    assert not probe(head + CONTENT[44:]).truncated


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not audio at all" * 10, CONTENT[:30]])
def test_what_is_no_recording_is_named(content):
    with pytest.raises(AudioError, match=r"here\.wav"):
        read_window({"bytes": content, "path": "here.wav"})


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(AudioError, match="no such recording"):
        read_window(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="a folder"):
        read_window(tmp_path)
    with pytest.raises(TypeError, match="int"):
        read_window(3)


def test_negative_times_are_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        read_window(CONTENT, -1.0)


@given(st.binary(max_size=200), st.integers(0, 80))
@settings(max_examples=200)
def test_mutated_headers_never_crash(junk, position):
    mutated = CONTENT[:position] + junk + CONTENT[position + len(junk) : 4_000]
    try:
        with Recording(mutated) as recording:
            recording.read(0.0, 0.1)
    except AudioError:
        pass


def test_several_windows_of_one_open_recording():
    with Recording(io.BytesIO(CONTENT).getvalue()) as recording:
        first, second = recording.read(2.0, 0.1), recording.read(1.0, 0.1)
    np.testing.assert_array_equal(second, read_window(CONTENT, 1.0, 0.1))
    np.testing.assert_array_equal(first, read_window(CONTENT, 2.0, 0.1))


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 22_050, 96_000])
def test_every_depth_rate_and_number_of_channels(subtype, channels, rate):
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (rate // 4, channels))
    out = io.BytesIO()
    sf.write(out, samples, rate, format="WAV", subtype=subtype)
    info = probe(out.getvalue())
    assert (info.n_samples, info.sampling_rate, info.n_channels) == (rate // 4, rate, channels)
    np.testing.assert_allclose(read_window(out.getvalue()), samples.mean(1), atol=1e-2 if subtype == "PCM_U8" else 1e-4)


def test_plain_wav_is_read_as_libsndfile_reads_it():
    for samples in (WAVE, np.stack([WAVE, -WAVE / 3], 1)):
        content = wav(samples)
        assert plain_wav(content[:4096], len(content)) is not None
        expected = sf.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(1, dtype=np.float32)
        np.testing.assert_array_equal(read_window(content), expected)


def test_real_recordings_are_read_as_libsndfile_reads_them(animals):
    with open(animals / "val.tar.gz", "rb") as stream:
        for name, content in iterate_members(stream, where="val"):
            if not name.endswith(".wav"):
                continue
            expected = sf.read(io.BytesIO(content), dtype="float32", always_2d=True)[0].mean(1, dtype=np.float32)
            np.testing.assert_array_equal(read_window(content), expected, err_msg=name)
            start = len(expected) // 3
            with Recording(content) as recording:
                np.testing.assert_array_equal(recording.read_samples(start, start + 99), expected[start : start + 99])


def test_a_path_is_read_as_its_bytes(tmp_path):
    (tmp_path / "a.wav").write_bytes(CONTENT)
    np.testing.assert_array_equal(read_window(tmp_path / "a.wav", 1.3, 0.7), read_window(CONTENT, 1.3, 0.7))


@pytest.mark.parametrize("rate", [1, 4_000_000_000])
def test_impossible_rates_are_refused(rate):
    content = CONTENT[:24] + rate.to_bytes(4, "little") + (2 * rate % 2**32).to_bytes(4, "little") + CONTENT[32:]
    with pytest.raises(AudioError):
        read_window(content)


def test_what_is_no_number_is_silent_and_refused_where_there_is_nothing_else():
    samples = np.full(100, 0.25)
    samples[40], samples[42] = np.nan, 1e9
    some = wav(samples, subtype="FLOAT")
    expected = np.full(100, 0.25, np.float32)
    expected[40:43] = 0.0
    np.testing.assert_array_equal(read_window(some), expected)
    with Recording(some) as recording:
        recording.read()
        assert recording.gaps == [(40, 43)]
        assert recording.info.truncated
    with pytest.raises(AudioError, match="no numbers"):
        read_window(wav(np.full(5, np.nan), subtype="FLOAT"))


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 22_050), ("OPUS", 48_000)])
def test_what_follows_a_damaged_ogg_page_keeps_its_time(subtype, rate):
    noise = 0.1 * np.random.default_rng(0).standard_normal(6 * rate)
    content = wav(noise, rate, subtype, "OGG")
    whole = read_window(content)
    sounding = [page for page in pages(content) if page.position > 0]
    for page in (sounding[0], sounding[len(sounding) // 2], sounding[-1]):
        middle = (page.start + page.stop) // 2
        with Recording(content[:middle] + bytes(50) + content[middle + 50 :]) as recording:
            heard = recording.read()
            assert recording.info.truncated
            told = np.zeros(len(heard), bool)
            for start, stop in recording.gaps:
                assert not heard[start:stop].any()
                told[start : stop + rate // 4] = True  # a decoder needs a moment to be right again
            assert told.sum() < 1.6 * rate
            np.testing.assert_allclose(heard[~told], whole[: len(heard)][~told], atol=2e-3)


def test_one_read_is_bounded(monkeypatch):
    monkeypatch.setattr("hf_inatsounds.audio.file_decoder.MAX_SAMPLES", 10_000)
    monkeypatch.setattr("hf_inatsounds.audio.file_decoder.BLOCK_SAMPLES", 4_000)
    for content in (CONTENT, wav(WAVE, form="FLAC")):
        with pytest.raises(AudioError, match="window by window"):
            read_window(content)
        assert len(read_window(content, 1.0, 0.1)) == round(0.1 * RATE)
