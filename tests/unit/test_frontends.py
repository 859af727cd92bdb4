from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    ASTFeatureExtractor,
    ClapFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from hf_inatsounds.audio import read_window
from hf_inatsounds.data.loading import load_dataset
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.frontends import (
    AstFrontend,
    InputLayout,
    SpectrogramImageFrontend,
    Wav2Vec2BertFrontend,
    WaveformFrontend,
    WhisperFrontend,
    frontend_for,
)

LENGTHS = (400, 401, 559, 560, 561, 1_000, 16_000, 48_000, 52_345)


def batch(waveforms, width=None):
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    stacked = torch.zeros(len(waveforms), width or int(lengths.max()))
    for row, waveform in zip(stacked, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return stacked, lengths


def noises(lengths, scale=0.1):
    generator = np.random.default_rng(0)
    return [(generator.standard_normal(n) * scale + 0.05).astype(np.float32) for n in lengths]


@pytest.mark.parametrize("max_length", [1, 64, 298, 1024])
@pytest.mark.parametrize("options", [{}, {"num_mel_bins": 32}, {"do_normalize": False}, {"mean": -6.0, "std": 3.0}])
def test_ast_frontend_equals_the_extractor_one_by_one(max_length, options):
    extractor = ASTFeatureExtractor(max_length=max_length, **options)
    waveforms = noises(LENGTHS)
    expected = [extractor(one, sampling_rate=16_000, return_tensors="pt")["input_values"][0] for one in waveforms]
    found = AstFrontend.from_feature_extractor(extractor)(*batch(waveforms))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=0)


@pytest.mark.parametrize("sampling_rate", [8_000, 22_050, 32_000])
def test_ast_frontend_equals_the_extractor_at_other_rates(sampling_rate):
    extractor = ASTFeatureExtractor(sampling_rate=sampling_rate, max_length=100)
    waveforms = noises((5_000, 30_000))
    expected = [extractor(w, sampling_rate=sampling_rate, return_tensors="pt")["input_values"][0] for w in waveforms]
    found = AstFrontend.from_feature_extractor(extractor)(*batch(waveforms))
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-4, rtol=0)


def test_ast_frontend_gives_padding_alone_for_less_than_a_frame():
    frontend = AstFrontend(max_length=10)
    found = frontend(torch.ones(2, 399), torch.tensor([0, 399]))
    assert torch.all(found == (0 - frontend.offset) / frontend.scale)


def test_silence_gives_the_floor_and_not_infinity():
    found = AstFrontend(max_length=10, do_normalize=False)(torch.zeros(1, 2_000), torch.tensor([2_000]))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    "frontend", [AstFrontend(max_length=50), WaveformFrontend(), SpectrogramImageFrontend(n_frames=64, image_size=32)]
)
def test_a_row_does_not_depend_on_its_neighbours_or_on_padding(frontend):
    waveforms = noises((5_000, 12_000, 700))
    together = frontend(*batch(waveforms, 20_000))
    for i, waveform in enumerate(waveforms):
        alone = frontend(*batch([waveform]))
        width = min(together.shape[1], alone.shape[1])
        torch.testing.assert_close(together[i : i + 1, :width], alone[:, :width], atol=1e-5, rtol=0)


@pytest.mark.parametrize("do_normalize", [True, False])
def test_waveform_frontend_equals_the_extractor_one_by_one(do_normalize):
    extractor = Wav2Vec2FeatureExtractor(do_normalize=do_normalize)
    waveforms = noises((1, 7, 400, 16_000))
    found = WaveformFrontend.from_feature_extractor(extractor)(*batch(waveforms))
    for row, waveform in zip(found, waveforms, strict=True):
        expected = extractor(waveform, sampling_rate=16_000, return_tensors="pt")["input_values"][0]
        torch.testing.assert_close(row[: len(waveform)], expected, atol=1e-4, rtol=0)
        assert not row[len(waveform) :].any()


def test_waveform_frontend_equals_the_extractors_masked_batches():
    extractor = Wav2Vec2FeatureExtractor(return_attention_mask=True)
    waveforms = noises((700, 16_000, 4_000))
    expected = extractor(waveforms, sampling_rate=16_000, padding=True, return_tensors="pt")
    found = WaveformFrontend.from_feature_extractor(extractor).model_inputs(*batch(waveforms))
    torch.testing.assert_close(found["input_values"], expected["input_values"], atol=1e-4, rtol=0)
    assert torch.equal(found["attention_mask"], expected["attention_mask"].int())


EXTRACTORS = {
    "ast": ASTFeatureExtractor(max_length=298),
    "wav2vec2": Wav2Vec2FeatureExtractor(return_attention_mask=True),
    "wav2vec2-bert": SeamlessM4TFeatureExtractor(),
    "whisper": WhisperFeatureExtractor(chunk_length=3),
    "whisper-128": WhisperFeatureExtractor(chunk_length=3, feature_size=128),
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_frontends_equal_the_extractors_on_real_recordings(animals, name):
    rows = load_dataset(split="validation", source=animals)
    waveforms = [read_window(row["audio"], 0.0, 3.0, 16_000) for row in rows]
    waveforms = [waveform for waveform in waveforms if len(waveform) >= 560]
    assert len(waveforms) > 70
    frontend = frontend_for(EXTRACTORS[name])
    found = frontend.model_inputs(*batch(waveforms))
    for i, waveform in enumerate(waveforms):
        check_row({key: values[i] for key, values in found.items()}, EXTRACTORS[name], frontend, waveform)


@pytest.fixture(scope="module")
def recordings(animals):
    """Beginnings of real recordings at several rates, by rate."""
    rows = list(load_dataset(split="validation", source=animals))[::12]
    heard = {rate: [read_window(row["audio"], 0.0, 4.0, rate) for row in rows] for rate in (8_000, 16_000, 44_100)}
    return {rate: [one for one in waveforms if len(one) >= 400] for rate, waveforms in heard.items()}


@settings(max_examples=25)
@given(st.data(), st.sampled_from([8_000, 16_000, 44_100]), st.integers(1, 500))
def test_ast_frontend_equals_the_extractor_on_any_cut_of_real_recordings(recordings, data, rate, max_length):
    frame = 400  # samples, at any rate
    extractor = ASTFeatureExtractor(sampling_rate=rate, max_length=max_length)
    whole = recordings[rate]
    waveforms = []
    for one in data.draw(st.lists(st.sampled_from(range(len(whole))), min_size=1, max_size=3)):
        length = data.draw(st.one_of(st.integers(frame, len(whole[one])), st.just(frame)))
        start = data.draw(st.integers(0, len(whole[one]) - length))
        waveforms.append(whole[one][start : start + length])
    found = AstFrontend.from_feature_extractor(extractor)(*batch(waveforms))
    for row, waveform in zip(found, waveforms, strict=True):
        expected = extractor(waveform, sampling_rate=rate, return_tensors="pt")["input_values"][0]
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)


def check_row(found, extractor, frontend, waveform):
    """A row of a batch equals what the extractor makes of that waveform alone, and is padding after it."""
    expected = extractor(waveform, sampling_rate=frontend.sampling_rate, return_tensors="pt")
    assert set(found) == set(expected)
    for key, values in expected.items():
        whole = found[key]
        if frontend.layout.frequency_axis == 1:
            assert whole.shape == values[0].shape
        part = whole[: len(values[0])]
        torch.testing.assert_close(part, values[0].to(part.dtype), atol=1e-4, rtol=0)
        assert (whole[len(values[0]) :] == 0).all() or frontend.layout.name == "input_values"


@settings(max_examples=25)
@given(
    st.lists(st.integers(560, 40_000), min_size=1, max_size=4),
    st.sampled_from([(16_000, 80, 2, 0.0), (8_000, 40, 2, 1.0), (22_050, 80, 3, 0.0)]),
)
def test_wav2vec2_bert_frontend_equals_the_extractor_for_any_length_and_rate(lengths, chosen):
    rate, bins, stride, padding = chosen
    extractor = SeamlessM4TFeatureExtractor(
        feature_size=bins, sampling_rate=rate, num_mel_bins=bins, stride=stride, padding_value=padding
    )
    waveforms = noises(lengths)
    found = Wav2Vec2BertFrontend.from_feature_extractor(extractor).model_inputs(*batch(waveforms))
    for i, waveform in enumerate(waveforms):
        expected = extractor(waveform, sampling_rate=rate, return_tensors="pt", pad_to_multiple_of=stride)
        n = expected["input_features"].shape[1]
        torch.testing.assert_close(found["input_features"][i, :n], expected["input_features"][0], atol=1e-4, rtol=0)
        assert torch.equal(found["attention_mask"][i, :n], expected["attention_mask"][0].int())
        assert not found["attention_mask"][i, n:].any()


@settings(max_examples=15)
@given(
    st.lists(st.integers(1, 60_000), min_size=1, max_size=3),
    st.sampled_from([(16_000, 80, 160, 400, 3), (8_000, 64, 80, 256, 2), (22_050, 128, 220, 512, 1)]),
)
def test_whisper_frontend_equals_the_extractor_for_any_length_and_rate(lengths, chosen):
    rate, bins, hop, n_fft, seconds = chosen
    extractor = WhisperFeatureExtractor(bins, rate, hop, seconds, n_fft)
    waveforms = noises(lengths)
    frontend = WhisperFrontend.from_feature_extractor(extractor)
    found = frontend.model_inputs(*batch(waveforms))
    for i, waveform in enumerate(waveforms):
        expected = extractor(waveform, sampling_rate=rate, return_tensors="pt")
        torch.testing.assert_close(found["input_features"][i], expected["input_features"][0], atol=1e-4, rtol=0)


@settings(max_examples=25)
@given(
    st.lists(st.integers(400, 60_000), min_size=1, max_size=4), st.sampled_from([8_000, 16_000, 22_050, 48_000]),
    st.integers(1, 400), st.sampled_from([16, 64, 128]),
)  # fmt: skip
def test_ast_frontend_equals_the_extractor_for_any_length_rate_and_input(lengths, rate, max_length, bins):
    extractor = ASTFeatureExtractor(sampling_rate=rate, num_mel_bins=bins, max_length=max_length)
    waveforms = noises(lengths)
    found = AstFrontend.from_feature_extractor(extractor)(*batch(waveforms))
    for row, waveform in zip(found, waveforms, strict=True):
        expected = extractor(waveform, sampling_rate=rate, return_tensors="pt")["input_values"][0]
        torch.testing.assert_close(row, expected, atol=1e-4, rtol=0)


FRONTENDS = [
    AstFrontend(max_length=50),
    WaveformFrontend(return_attention_mask=True),
    SpectrogramImageFrontend(n_frames=64, image_size=32),
    Wav2Vec2BertFrontend(),
    WhisperFrontend(n_samples=16_000),
]


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda one: type(one).__name__)
def test_a_frontend_compiles_whole_and_gives_the_same(frontend):
    inputs = batch(noises((5_000, 12_000, 700)))
    expected = frontend.model_inputs(*inputs)
    torch._dynamo.reset()
    found = torch.compile(frontend.model_inputs, backend="aot_eager", fullgraph=True)(*inputs)
    for key, values in expected.items():
        torch.testing.assert_close(found[key], values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_no_frontend(frontend, dtype):
    inputs = batch(noises((5_000, 12_000, 700)))
    expected = frontend.model_inputs(*inputs)
    with torch.autocast("cpu", dtype=dtype):
        found = frontend.model_inputs(*inputs)
    for key, values in expected.items():
        assert torch.equal(found[key], values)


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda one: type(one).__name__)
def test_a_layout_names_the_input_and_its_axes(frontend):
    layout = frontend.layout
    short, long = (frontend.model_inputs(*batch(noises([n])))[layout.name] for n in (6_000, 16_000))
    if layout.time_axis is None:
        assert short.ndim == 2
        return
    assert short.ndim > max(layout.time_axis, layout.frequency_axis)
    loud = frontend.model_inputs(*batch([np.sin(np.arange(16_000) * 2.5).astype(np.float32)]))[layout.name]
    # a steady tone varies along frequency and hardly along time
    spread = {axis: loud[0].std(axis - 1).mean().item() for axis in (layout.time_axis, layout.frequency_axis)}
    if not isinstance(frontend, Wav2Vec2BertFrontend):  # which takes the mean over time away
        assert spread[layout.frequency_axis] > 2 * spread[layout.time_axis]
    else:
        assert long.shape[layout.time_axis] > short.shape[layout.time_axis]


def test_layouts_have_both_axes_or_none():
    with pytest.raises(ValueError, match="both axes or none"):
        InputLayout("input_values", time_axis=1)


def test_float32_is_off_by_as_much_as_is_said(animals):
    rows = load_dataset(split="validation", source=animals)
    inputs = batch([read_window(row["audio"], 0.0, 3.0, 16_000) for row in rows])
    exact = AstFrontend(max_length=298, do_normalize=False)(*inputs)
    found = AstFrontend(max_length=298, do_normalize=False, precision="float32")(*inputs)
    assert 0 < (found - exact).abs().max() / (2 * 4.5689974) < 2e-3


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(B, T\) float"):
        AstFrontend()(torch.zeros(5), torch.tensor([5]))
    with pytest.raises(ValueError, match="lengths must have shape"):
        WaveformFrontend()(torch.zeros(2, 5), torch.tensor([5]))


def test_an_extractor_without_frontend_is_named():
    with pytest.raises(CheckpointError, match="ClapFeatureExtractor"):
        frontend_for(ClapFeatureExtractor())
    with pytest.raises(CheckpointError, match="dither"):
        frontend_for(WhisperFeatureExtractor(dither=0.1))


@pytest.mark.parametrize("variant", ["raw", "scaled"])
def test_spectrograms_are_the_authors(golden, variant):
    found = np.load(golden / "spectrograms.npz")
    frontend = SpectrogramImageFrontend(variant)
    names = [name for name in found if name.startswith("waveform_")]
    assert names
    for name in names:
        expected = found[name.replace("waveform", variant)]
        for waveform in (found[name], found[name].astype(np.float32) / 32_768):
            assert np.array_equal(frontend.spectrogram(waveform), expected)


@pytest.mark.parametrize("variant", ["raw", "scaled"])
@pytest.mark.parametrize(("precision", "share"), [("float32", 2e-3), ("float64", 1e-3)])
def test_the_batched_spectrogram_differs_from_the_authors_in_few_pixels_by_one(animals, variant, precision, share):
    """Their pixels hold the rounding of scipy's float32 FFT, which no other FFT repeats."""
    frontend = SpectrogramImageFrontend(variant, precision=precision)
    off = n = 0
    for row in load_dataset(split="validation", source=animals):
        waveform = read_window(row["audio"], 0.0, 3.0)
        expected = frontend.spectrogram(waveform).astype(int)
        found = frontend._pixels(torch.from_numpy(waveform)[None], expected.shape[1])[0].numpy()
        difference = np.abs(found - expected)
        assert difference.max(initial=0) <= 1
        off, n = off + (difference > 0).sum(), n + difference.size
    assert off / n < share


def test_images_are_the_spectrogram_centred_resized_and_normalised():
    frontend = SpectrogramImageFrontend("raw", n_frames=64, image_size=(32, 48))
    waveforms = noises((512, 5_000, 512 + 63 * 128, 20_000, 511))
    found = frontend(*batch(waveforms))
    assert found.shape == (5, 3, 32, 48)
    for image, waveform in zip(found, waveforms, strict=True):
        pixels = frontend.spectrogram(waveform)[:, :64] / np.float32(255)
        pad = 64 - pixels.shape[1]
        padded = np.pad(pixels, ((0, 0), (pad // 2, pad - pad // 2)))
        resized = torch.nn.functional.interpolate(
            torch.from_numpy(padded)[None, None], (32, 48), mode="bilinear", antialias=True
        )
        expected = (resized[0, 0] - 0.6569) / 0.1786
        for channel in image:  # a pixel that is one off moves the mean by less than this
            torch.testing.assert_close(channel, expected, atol=0.03, rtol=0)
    assert torch.all(found[4] == (0 - 0.6569) / 0.1786)


def test_a_sample_that_is_no_number_is_seen_in_the_image():
    waveforms = 0.1 * torch.randn(2, 22_050)
    waveforms[1, 9_000] = float("nan")
    image = SpectrogramImageFrontend(image_size=32)(waveforms, torch.tensor([22_050, 22_050]))
    assert torch.isfinite(image[0]).all()
    assert torch.isnan(image[1]).any()


def test_images_are_the_same_in_and_after_inference_mode_and_in_threads():
    frontend = SpectrogramImageFrontend(image_size=32)
    waveforms, lengths = 0.1 * torch.randn(2, 70_000), torch.tensor([70_000, 30_000])
    with torch.inference_mode():
        first = frontend(waveforms, lengths).numpy()
    np.testing.assert_array_equal(frontend(waveforms, lengths).numpy(), first)
    with torch.no_grad():
        again = frontend(waveforms[:, :40_000], lengths.clamp_max(40_000))
    assert again.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(frontend(waveforms, lengths).numpy(), first)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: frontend(waveforms, lengths).numpy(), range(8)):
            np.testing.assert_array_equal(found, first)
