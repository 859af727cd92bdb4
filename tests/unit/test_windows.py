import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_inatsounds.audio.windows import WindowSpec, random_crop

specs = st.tuples(st.floats(0.05, 12.0), st.floats(0.01, 1.0)).map(lambda pair: (pair[0], pair[0] * pair[1]))


@given(specs, st.integers(0, 500_000), st.sampled_from([8_000, 16_000, 22_050]), st.sampled_from(["centered", "start"]))
def test_windows_cover_the_recording_and_stay_within_it(spec, n_samples, rate, alignment):
    window = WindowSpec(*spec, alignment)
    spans = window.spans(n_samples, rate)
    assert spans[0][0] == 0
    assert spans[-1][1] == n_samples
    assert len(spans) == window.count(n_samples, rate)
    size = window.size_samples(rate)
    for start, stop in spans:
        assert 0 <= start <= stop <= n_samples
        assert stop - start <= size
    for (_, stop), (start, _) in itertools.pairwise(spans):
        assert start <= stop  # no gap


@given(specs, st.integers(0, 500_000))
def test_the_number_of_windows_is_the_authors(spec, n_samples):
    window = WindowSpec(*spec)
    size, stride = window.size_samples(16_000), window.stride_samples(16_000)
    assert window.count(n_samples, 16_000) == math.ceil(max(n_samples - size, 0) / stride) + 1


@given(specs, st.integers(1, 500_000))
def test_windows_from_the_start_are_full_where_the_recording_is_long_enough(spec, n_samples):
    window = WindowSpec(*spec, "start")
    full = min(window.size_samples(16_000), n_samples)
    assert {stop - start for start, stop in window.spans(n_samples, 16_000)} == {full}


def test_centred_windows_stand_where_the_authors_padding_puts_them():
    # frames of their code: T = 700, window 512, stride 256, pad = 68, 34 of it on the left
    assert WindowSpec(512, 256).spans(700, 1) == [(0, 478), (222, 700)]


@given(st.integers(0, 100_000), st.integers(1, 50_000), st.integers(0, 2**32))
def test_a_random_crop_is_full_or_the_whole_recording(n_samples, size, seed):
    start, stop = random_crop(n_samples, size, np.random.default_rng(seed))
    assert 0 <= start <= stop <= n_samples
    assert stop - start == min(size, n_samples)


def test_random_crops_reach_both_ends():
    generator = np.random.default_rng(0)
    starts = {random_crop(12, 10, generator)[0] for _ in range(100)}
    assert starts == {0, 1, 2}


@pytest.mark.parametrize(("size", "stride"), [(0, 1), (3, 0), (3, 4), (-1, 1), (float("inf"), 1), (float("nan"), 1)])
def test_impossible_windows_are_refused(size, stride):
    with pytest.raises(ValueError, match=r"size_s|stride_s"):
        WindowSpec(size, stride)
