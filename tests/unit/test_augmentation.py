import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation, parse_chain
from hf_inatsounds.augmentation.batch import beta_of, uniforms
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.frontends.base import InputLayout
from hf_inatsounds.objectives import Multiclass, Multilabel
from tests.helpers.archive import wav

EVERYTHING = WaveformAugmentation(gain_db=6.0, noise=1.0, pitch=1.0, shorten=1.0)


def test_no_augmentation_changes_nothing():
    crop = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    np.testing.assert_array_equal(WaveformAugmentation()(crop, 16_000, 16_000, np.random.default_rng(1)), crop)


@pytest.mark.parametrize("length", [0, 1, 100, 5_000, 16_000])
def test_a_crop_never_grows_beyond_its_size(length):
    for seed in range(20):
        crop = EVERYTHING(np.ones(length, np.float32), 16_000, 16_000, np.random.default_rng(seed))
        assert len(crop) <= 16_000
        assert crop.dtype == np.float32
        assert np.isfinite(crop).all()


def test_a_crop_depends_on_its_generator_alone():
    crop = np.ones(9_000, np.float32)
    one, two = (EVERYTHING(crop, 16_000, 16_000, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, EVERYTHING(crop, 16_000, 16_000, np.random.default_rng(8)))


def test_a_full_crop_is_not_shortened():
    shorten = WaveformAugmentation(shorten=1.0)
    lengths = {len(shorten(np.ones(16_000, np.float32), 16_000, 16_000, np.random.default_rng(s))) for s in range(9)}
    assert lengths == {16_000}
    part = [len(shorten(np.ones(10_000, np.float32), 16_000, 16_000, np.random.default_rng(s))) for s in range(50)]
    assert min(part) >= 6_000
    assert max(part) <= 10_000


def test_noise_is_as_loud_as_it_says():
    crop = np.sin(np.arange(160_000) * 0.1).astype(np.float32)
    for seed in range(10):
        noise = WaveformAugmentation(noise=1.0)(crop, 160_000, 16_000, np.random.default_rng(seed)) - crop
        snr_db = 10 * np.log10(np.mean(crop**2) / np.mean(noise**2))
        assert 4.9 < snr_db < 40.1


def test_masks_are_no_wider_than_asked_and_lie_in_both_axes():
    augment = BatchAugmentation(frequency_masks=1, frequency_mask_bins=4, time_masks=1, time_mask_frames=9)
    inputs, targets = {"input_values": torch.ones(64, 50, 16)}, torch.eye(3)[torch.zeros(64, dtype=torch.long)]
    masked, same = augment(inputs, targets, Multiclass(), np.random.default_rng(0))
    values = masked["input_values"]
    assert torch.equal(same, targets)
    bins = (values == 0).all(1).sum(1)
    frames = (values == 0).all(2).sum(1)
    assert bins.max() == 4
    assert frames.max() == 9
    assert bins.min() == frames.min() == 0
    assert (inputs["input_values"] == 1).all()  # not in place


@pytest.mark.parametrize(("objective", "united"), [(Multiclass(), False), (Multilabel(), True)])
def test_mixup_mixes_each_example_with_the_one_before(objective, united):
    values = torch.arange(3.0)[:, None].repeat(1, 5)
    inputs = {"input_values": values, "attention_mask": torch.tensor([[1, 0], [1, 1], [1, 0]])}
    mixed, targets = BatchAugmentation(mixup=1.0)(inputs, torch.eye(3), objective, np.random.default_rng(0))
    share = float((mixed["input_values"][1, 0] - 0.0) / 1.0)  # 1·λ + 0·(1 - λ)
    assert 0 < share < 1
    torch.testing.assert_close(mixed["input_values"][2, 0], torch.tensor(2 * share + (1 - share)))
    expected = [1.0, 1.0, 0.0] if united else [1 - share, share, 0.0]
    torch.testing.assert_close(targets[1], torch.tensor(expected))
    assert mixed["attention_mask"].tolist() == [[1, 0], [1, 1], [1, 1]]


@pytest.mark.parametrize("settings", [{"gain_db": -1.0}, {"noise": 1.5}, {"pitch": -0.1}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        WaveformAugmentation(**settings)


IMAGE = InputLayout("pixel_values", time_axis=3, frequency_axis=2)
WHISPER = InputLayout("input_features", time_axis=2, frequency_axis=1)
MASKS = BatchAugmentation(frequency_masks=2, frequency_mask_bins=5, time_masks=1, time_mask_frames=9)


@pytest.mark.parametrize(
    ("layout", "shape"),
    [(InputLayout("input_values", 1, 2), (8, 50, 16)), (WHISPER, (8, 16, 50)), (IMAGE, (8, 3, 16, 50))],
)
def test_masks_fit_every_layout_and_are_the_same_in_all(layout, shape):
    keys = np.arange(8)
    masked, _ = MASKS(
        {layout.name: torch.ones(shape)}, torch.eye(8), Multiclass(), np.random.default_rng(0), layout=layout, keys=keys
    )
    values = masked[layout.name][:, 0] if len(shape) == 4 else masked[layout.name]
    if layout.frequency_axis == 2 and len(shape) == 3:
        values = values.transpose(1, 2)
    reference, _ = MASKS(
        {"input_values": torch.ones(8, 50, 16)}, torch.eye(8), Multiclass(), np.random.default_rng(5), keys=keys
    )
    assert torch.equal(values, reference["input_values"].transpose(1, 2))
    assert (values == 0).any()
    if len(shape) == 4:
        assert torch.equal(masked["pixel_values"][:, 0], masked["pixel_values"][:, 2])


def test_what_is_masked_of_an_example_does_not_depend_on_its_batch():
    keys, ones = np.array([5, 17, 99, 3]), torch.ones(4, 60, 16)
    together = MASKS({"input_values": ones}, torch.eye(4), Multiclass(), np.random.default_rng(0), keys=keys)[0]
    alone = MASKS({"input_values": ones[:1]}, torch.eye(1), Multiclass(), np.random.default_rng(9), keys=keys[2:3])[0]
    assert torch.equal(together["input_values"][2], alone["input_values"][0])


def test_draws_of_keys_are_uniform_and_independent():
    draws = uniforms(np.arange(20_000), 3, 1)
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(draws.T) - np.eye(3)).max() < 0.03
    assert abs(np.corrcoef(draws[1:, 0], draws[:-1, 0])[0, 1]) < 0.03
    shares = beta_of(np.arange(20_000), 0.4)
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_waveforms_mix_as_in_air():
    waveforms = torch.tensor([[1.0, 1.0, 0.0], [4.0, 4.0, 4.0], [2.0, 0.0, 0.0]])
    lengths = torch.tensor([2, 3, 1])
    augment = BatchAugmentation(mixup=1.0, mixup_level="waveform")
    keys = np.array([1, 2, 3])
    mixed, longer, targets = augment.mix_waveforms(
        waveforms, lengths, torch.eye(3), Multiclass(), np.random.default_rng(0), keys=keys
    )
    share = torch.from_numpy(beta_of(keys, 1.0)).float()
    torch.testing.assert_close(mixed, share[:, None] * waveforms + (1 - share)[:, None] * waveforms[[2, 0, 1]])
    assert longer.tolist() == [2, 3, 3]
    torch.testing.assert_close(targets[1], torch.tensor([1 - share[1], share[1], 0.0]))
    same = augment({"input_values": waveforms}, targets, Multiclass(), np.random.default_rng(0))
    assert torch.equal(same[0]["input_values"], waveforms)  # not a second time


@pytest.mark.parametrize(("kind", "expected"), [("union", [1.0, 1.0, 0.0]), ("objective", [1.0, 1.0, 0.0])])
def test_multilabel_targets_unite(kind, expected):
    augment = BatchAugmentation(mixup=1.0, mixup_level="waveform", mixup_targets=kind)
    _, _, targets = augment.mix_waveforms(
        torch.ones(3, 4), torch.full((3,), 4), torch.eye(3), Multilabel(), np.random.default_rng(0)
    )
    assert targets[1].tolist() == expected


def test_weighted_targets_for_multilabel_when_asked():
    augment = BatchAugmentation(mixup=1.0, mixup_targets="weighted")
    _, targets = augment({"input_values": torch.ones(3, 4)}, torch.eye(3), Multilabel(), np.random.default_rng(0))
    assert 0 < float(targets[1, 0]) < 1
    torch.testing.assert_close(targets.sum(1), torch.ones(3))


@pytest.mark.parametrize("level", ["input", "waveform"])
def test_nothing_is_mixed_with_silence_in_place_of_a_recording(level):
    augment = BatchAugmentation(mixup=1.0, mixup_level=level)
    weights = torch.tensor([0.0, 1.0, 1.0])
    waveforms = torch.tensor([[0.0], [1.0], [2.0]])
    generator = np.random.default_rng(0)
    if level == "waveform":
        mixed, _, targets = augment.mix_waveforms(
            waveforms, torch.ones(3, dtype=torch.long), torch.eye(3), Multiclass(), generator, weights=weights
        )
    else:
        inputs, targets = augment({"input_values": waveforms}, torch.eye(3), Multiclass(), generator, weights=weights)
        mixed = inputs["input_values"]
    assert mixed[1].tolist() == [1.0]
    assert targets[1].tolist() == [0.0, 1.0, 0.0]
    assert 0 < float(targets[2, 1]) < 1


CHAIN = [
    {"name": "AddGaussianSNR", "parameters": {"p": 0.7}},
    {"name": "Shift", "parameters": {"p": 0.7}},
    {"name": "BandPassFilter", "parameters": {"p": 0.7}},
    "Gain",
]


def test_a_chained_crop_depends_on_its_seed_alone():
    chain, other = parse_chain(CHAIN), parse_chain(CHAIN)
    crops = np.random.default_rng(0).standard_normal((4, 8_000)).astype(np.float32) * 0.1
    forward = [chain(crop, 16_000, np.random.default_rng([1, i])) for i, crop in enumerate(crops)]
    random.seed(99)
    np.random.seed(7)
    state = random.getstate(), np.random.get_state()[1].tolist()
    other = pickle.loads(pickle.dumps(other))
    backward = [other(crops[i], 16_000, np.random.default_rng([1, i])) for i in (3, 2, 1, 0)][::-1]
    for one, two in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state  # what others draw is not touched
    assert any(not np.array_equal(one, crop) for one, crop in zip(forward, crops, strict=True))


def test_backgrounds_do_not_depend_on_how_a_folder_is_listed(tmp_path, monkeypatch):
    for name in ("b.wav", "a.wav", "c.wav"):
        (tmp_path / name).write_bytes(wav(np.random.default_rng(ord(name[0])).standard_normal(9_000) * 0.1))
    chain = [{"name": "AddBackgroundNoise", "parameters": {"sounds_path": str(tmp_path), "p": 1.0}}]
    crop = np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    one = parse_chain(chain)(crop, 22_050, np.random.default_rng(3))
    listed = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: sorted(listed(self, pattern), reverse=True))
    np.testing.assert_array_equal(parse_chain(chain)(crop, 22_050, np.random.default_rng(3)), one)
    assert not np.array_equal(one, crop)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["Shft"], "Shft.*'Shift'"),
        ([{"name": "Shift", "parameters": {"min_shfit": 0}}], "min_shfit.*'min_shift'"),
        ([{"name": "Gain", "parameters": {"p": 3}}], "audiomentations refuses.*Gain"),
        ([{"name": "AddBackgroundNoise", "parameters": {"sounds_path": "/nothing/here"}}], "no recordings"),
        (["Lambda"], "unknown transform"),
        ([{"nam": "Shift"}], "not a transform"),
        ([7], "not a transform"),
    ],
)
def test_mistakes_in_a_chain_are_named(entries, message):
    with pytest.raises(RecipeError, match=message):
        parse_chain(entries).check()


def test_very_short_crops_pass_the_chain():
    crop = np.ones(100, np.float32)
    np.testing.assert_array_equal(parse_chain(CHAIN)(crop, 16_000, np.random.default_rng(0)), crop)
