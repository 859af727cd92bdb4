import numpy as np
import pytest
import torch

from hf_inatsounds.augmentation import BatchAugmentation, WaveformAugmentation
from hf_inatsounds.objectives import Multiclass, Multilabel

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
