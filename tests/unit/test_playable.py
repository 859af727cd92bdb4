"""Every recording of a row decodes, whoever decodes it, and says what was wrong with it."""

import io

import numpy as np
import pytest
import soundfile as sf

from hf_inatsounds.audio import Recording, read_window
from hf_inatsounds.audio.defects import inspect_recording
from hf_inatsounds.audio.hearing import hear
from hf_inatsounds.audio.playable import playable
from hf_inatsounds.audio.stand_ins import STAND_IN_S, stand_in
from hf_inatsounds.errors import AudioError, EmptyAudioError
from tests.helpers.odd_recordings import SECONDS, odd_recordings

ODD = odd_recordings()


@pytest.mark.parametrize("name", ODD)
def test_whatever_it_was_plain_libsndfile_decodes_it_to_its_end(name):
    content, defect = ODD[name]
    made = playable(content)
    assert made.defect == defect
    samples, rate = sf.read(io.BytesIO(made.content))
    assert len(samples)
    assert np.isfinite(samples).all()
    if "size of 0" in name:
        assert len(samples) / rate == SECONDS
    elif defect is None:
        assert made.content == content
    elif defect == "truncated":
        assert SECONDS / 3 <= len(samples) / rate <= SECONDS
    else:
        assert len(samples) / rate == STAND_IN_S
        assert not samples.any()


@pytest.mark.parametrize("name", ODD)
def test_it_counts_as_what_it_was(name):
    content, defect = ODD[name]
    made = playable(content)
    assert playable(made.content) == made
    seen = inspect_recording(0, "a.wav", {"bytes": made.content}, hearing=hear(made.content))
    before = inspect_recording(0, "a.wav", {"bytes": content}, hearing=hear(content))
    assert seen.usable == before.usable or defect == "truncated"  # what decodes in part only is usable now
    assert (defect in seen.kinds) == (defect is not None)


@pytest.mark.parametrize("kind", ["empty", "unreadable"])
def test_a_stand_in_is_silence_to_a_plain_client_and_no_recording_to_ours(kind, tmp_path):
    (tmp_path / "a.wav").write_bytes(stand_in(kind))
    for audio in (stand_in(kind), tmp_path / "a.wav", {"bytes": stand_in(kind), "path": "a.wav"}):
        with pytest.raises(EmptyAudioError if kind == "empty" else AudioError, match=f"{kind} recording"):
            Recording(audio)
        assert len(read_window(audio, sampling_rate=16_000)) == 16_000
        assert len(read_window(audio, 1.0, 3.0)) == 0


class Samples:
    """As torchcodec hands them out."""

    def __init__(self, data: np.ndarray, sample_rate: int) -> None:
        self.data, self.sample_rate = data, sample_rate


class Decoder:
    """What this package asks of torchcodec's ``AudioDecoder``."""

    def __init__(self, content: bytes, rate: int) -> None:
        self.content, self.rate = content, rate

    def get_samples_played_in_range(self, start: float, stop: float) -> Samples:
        return Samples(np.zeros((1, 0), np.float32), self.rate)

    def get_all_samples(self) -> Samples:
        return Samples(np.stack([read_window(self.content, sampling_rate=self.rate)] * 2), self.rate)


@pytest.mark.parametrize("name", ["trailing garbage", "24 bits", "FLAC", "AIFF", "cut"])
def test_a_window_is_the_same_however_the_column_hands_the_recording_out(name):
    content = ODD[name][0]
    array = read_window(content)
    rate = sf.info(io.BytesIO(content)).samplerate
    forms = {
        "encoded": {"bytes": content, "path": "a"},
        "decoded": {"array": array, "sampling_rate": rate, "path": "not/there.wav"},
        "channels": {"array": np.stack([array, array]), "sampling_rate": rate},
        "a decoder": Decoder(content, rate),
    }
    ours = Decoder(content, rate)
    ours._hf_encoded = {"bytes": content, "path": "a"}  # as datasets leaves it
    for audio in (*forms.values(), ours):
        for asked in (None, 16_000):
            expected = read_window(content, 1.0, 1.5, asked)
            np.testing.assert_allclose(read_window(audio, 1.0, 1.5, asked), expected, atol=1e-6)


def test_without_a_rate_a_decoder_keeps_the_one_of_its_column():
    content = ODD["FLAC"][0]
    decoder = Decoder(content, 16_000)
    decoder._hf_encoded = {"bytes": content, "path": None}
    np.testing.assert_array_equal(read_window(decoder), read_window(content, sampling_rate=16_000))


@pytest.mark.parametrize("audio", [None, 3, {}, {"array": None}, [0.0]])
def test_what_no_column_holds_is_an_error(audio):
    with pytest.raises(TypeError, match="audio must be what an audio column holds"):
        read_window(audio)


@pytest.mark.parametrize("name", ["AIFF, cut", "W64, cut", "RF64, cut", "AU, cut"])
def test_a_cut_container_that_ffmpeg_stops_at_becomes_a_wav_file(name):
    content, _ = ODD[name]
    made = playable(content)
    assert made.content[:4] == b"RIFF"
    assert made.content != content
