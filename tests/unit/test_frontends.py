import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from hf_inatsounds.audio import read_window
from hf_inatsounds.builder import load_dataset
from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.frontends import AstFrontend, WaveformFrontend, frontend_for

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
@pytest.mark.parametrize("settings", [{}, {"num_mel_bins": 32}, {"do_normalize": False}, {"mean": -6.0, "std": 3.0}])
def test_ast_frontend_equals_the_extractor_one_by_one(max_length, settings):
    extractor = ASTFeatureExtractor(max_length=max_length, **settings)
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


@pytest.mark.parametrize("frontend", [AstFrontend(max_length=50), WaveformFrontend()])
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


def test_frontends_equal_the_extractors_on_real_recordings(animals):
    rows = load_dataset(split="validation", source=animals)
    waveforms = [read_window(row["audio"], 0.0, 3.0, 16_000) for row in rows]
    ast, wav2vec2 = ASTFeatureExtractor(max_length=298), Wav2Vec2FeatureExtractor()
    ast_found = AstFrontend.from_feature_extractor(ast)(*batch(waveforms))
    wav2vec2_found = WaveformFrontend.from_feature_extractor(wav2vec2)(*batch(waveforms))
    assert len(waveforms) == 76
    for i, waveform in enumerate(waveforms):
        expected = ast(waveform, sampling_rate=16_000, return_tensors="pt")["input_values"][0]
        torch.testing.assert_close(ast_found[i], expected, atol=1e-4, rtol=0)
        expected = wav2vec2(waveform, sampling_rate=16_000, return_tensors="pt")["input_values"][0]
        torch.testing.assert_close(wav2vec2_found[i, : len(waveform)], expected, atol=1e-4, rtol=0)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(B, T\) float"):
        AstFrontend()(torch.zeros(5), torch.tensor([5]))
    with pytest.raises(ValueError, match="lengths must have shape"):
        WaveformFrontend()(torch.zeros(2, 5), torch.tensor([5]))


def test_an_extractor_without_frontend_is_named():
    with pytest.raises(CheckpointError, match="WhisperFeatureExtractor"):
        frontend_for(WhisperFeatureExtractor())
