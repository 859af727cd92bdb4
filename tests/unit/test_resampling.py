import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds.frontends.resampling import PASSBAND, Resample, resampled_length

PAIRS = [(22_050, 16_000), (44_100, 16_000), (48_000, 22_050), (22_050, 32_000), (8_000, 16_000)]


def sines(frequencies, rate, n):
    return np.sin(2 * np.pi * np.asarray(frequencies)[:, None] * np.arange(n) / rate).astype(np.float32)


def resampled(waveforms, rate_in, rate_out):
    lengths = torch.full((len(waveforms),), waveforms.shape[1])
    return Resample(rate_in, rate_out)(torch.from_numpy(waveforms), lengths)[0].numpy()


@pytest.mark.parametrize(("rate_in", "rate_out"), [pair for pair in PAIRS if pair[1] < pair[0]])
def test_what_the_new_rate_cannot_hold_is_80_db_down(rate_in, rate_out):
    frequencies = np.linspace(rate_out / 2 + 1, rate_in / 2 - 1, 60)
    inner = resampled(sines(frequencies, rate_in, rate_in // 2), rate_in, rate_out)[:, rate_out // 8 : -rate_out // 8]
    assert 10 * np.log10(np.mean(inner**2, 1).max() / 0.5) < -80


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_the_passband_is_flat_and_in_time(rate_in, rate_out):
    frequencies = np.linspace(20, PASSBAND * min(rate_in, rate_out) / 2, 40)
    made = resampled(sines(frequencies, rate_in, rate_in // 2), rate_in, rate_out)
    expected = sines(frequencies, rate_out, made.shape[1])
    edge = rate_out // 8
    assert np.abs(made - expected)[:, edge:-edge].max() < 5e-5


@pytest.mark.parametrize(("rate_in", "rate_out"), PAIRS)
def test_away_from_the_edges_it_is_soxrs_to_one_in_a_thousand(rate_in, rate_out):
    noise = np.random.default_rng(0).standard_normal(rate_in).astype(np.float32)
    spectrum = np.fft.rfft(noise)
    spectrum[np.fft.rfftfreq(rate_in, 1 / rate_in) > 0.44 * min(rate_in, rate_out)] = 0
    noise = np.fft.irfft(spectrum, rate_in).astype(np.float32)
    ours, theirs = resampled(noise[None], rate_in, rate_out)[0], soxr.resample(noise, rate_in, rate_out, quality="VHQ")
    edge = rate_out // 8
    assert np.abs(ours[: len(theirs)] - theirs)[edge:-edge].max() < 1e-3 * np.abs(theirs).max()


@given(st.integers(0, 5_000), st.integers(0, 5_000), st.sampled_from(PAIRS))
@settings(max_examples=40)
def test_lengths_are_rounded_and_silence_follows(length, padding, pair):
    made, new = Resample(*pair)(torch.ones(1, length + padding), torch.tensor([length]))
    assert made.shape[1] == resampled_length(length + padding, *pair)
    assert int(new) == resampled_length(length, *pair)
    assert not made[0, int(new) :].any()


def test_rows_do_not_look_at_each_other():
    waveforms = torch.randn(3, 4_000)
    lengths = torch.tensor([4_000, 2_500, 4_000])
    waveforms[1, 2_500:] = 0
    together = Resample(22_050, 16_000)(waveforms, lengths)[0]
    alone = Resample(22_050, 16_000)(waveforms[1:2, :2_500], lengths[1:2])[0]
    torch.testing.assert_close(together[1, : alone.shape[1]], alone[0])


def test_the_same_rate_changes_nothing():
    waveforms = torch.randn(2, 100)
    assert torch.equal(Resample(16_000, 16_000)(waveforms, torch.tensor([100, 50]))[0], waveforms)


def test_strange_rates_are_refused():
    with pytest.raises(ValueError, match="soxr"):
        Resample(22_051, 16_000)
    with pytest.raises(ValueError, match="positive"):
        Resample(0, 16_000)
