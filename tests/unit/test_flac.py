"""The FLAC decoder against libsndfile, bit for bit, and that it takes no more than it is made for."""

import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_inatsounds import flac
from hf_inatsounds.archives.forward import iterate_members
from hf_inatsounds.audio import Recording, probe, read_window
from hf_inatsounds.errors import AudioError
from hf_inatsounds.publishing.encoding import encode
from tests.helpers.flac import BLOCK, Bits, flac_file, frame, lpc_subframe, residual_of

RATE = 22_050


@pytest.fixture(autouse=True)
def prepared(monkeypatch):
    flac.prepare()
    monkeypatch.setattr(flac._Decoder, "samples_before", 0)


def sound(kind: str, n: int, channels: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((n, channels))
    t = np.arange(n)[:, None] / RATE
    return {
        "silence": np.zeros((n, channels)),
        "constant": np.full((n, channels), 0.25),
        "quiet noise": noise * 1e-3,
        "loud noise": generator.uniform(-1, 1, (n, channels)) * 0.9999,
        "full scale": np.where(noise > 0, 0.999999, -1.0),
        "tones": 0.6 * np.sin(2 * np.pi * 700 * t * np.arange(1, channels + 1)) + 1e-4 * noise,
        "alike": noise[:, :1] * 0.1 + 1e-3 * noise,
        "wasted bits": np.round(noise * 20) / 512,
        "half silent": noise * 0.1 * (t < t.max() / 2),
    }[kind]


KINDS = (
    "silence", "constant", "quiet noise", "loud noise", "full scale", "tones", "alike", "wasted bits", "half silent",
)  # fmt: skip


def encoded(samples: np.ndarray, subtype: str = "PCM_16", level: float = 0.5) -> bytes:
    out = io.BytesIO()
    sf.write(out, np.clip(samples, -1, 1 - 2**-15), RATE, format="FLAC", subtype=subtype, compression_level=level)
    return out.getvalue()


def by_libsndfile(content: bytes, start: int, stop: int) -> np.ndarray:
    with sf.SoundFile(io.BytesIO(content)) as file:
        file.seek(start)
        return file.read(stop - start, dtype="float32", always_2d=True).mean(1, dtype=np.float32)


def decoded(content: bytes, start: int, stop: int) -> np.ndarray:
    """By the decoder alone; fails where it left the file to libsndfile."""
    plain = flac.plain_flac(content)
    assert plain is not None
    found = flac.read_mono(content, plain, start, stop)
    assert found is not None
    return found


@given(
    st.sampled_from(KINDS),
    st.sampled_from(["PCM_S8", "PCM_16", "PCM_24"]),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 0.25, 0.5, 0.75, 1]),
    st.one_of(st.integers(1, 9_000), st.sampled_from([1, 4095, 4096, 4097, 8192, 40_000])),
    st.integers(0, 99),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=250)
def test_every_window_is_what_libsndfile_reads(kind, subtype, channels, level, n, seed, shares):
    content = encoded(sound(kind, n, channels, seed), subtype, level)
    start, stop = sorted(round(share * n) for share in shares)
    stop = max(stop, start + 1) if start < n else stop
    np.testing.assert_array_equal(decoded(content, start, stop), by_libsndfile(content, start, stop))
    np.testing.assert_array_equal(decoded(content, 0, n), by_libsndfile(content, 0, n))


@pytest.mark.parametrize("order", [1, 4, 5, 8, 9, 12, 13, 32])
@pytest.mark.parametrize("k", [None, 0, 3, 11, 12, 17])
def test_predictors_and_residuals_that_encoders_rarely_write(order, k):
    generator = np.random.default_rng(order)
    samples = generator.integers(-300, 300, BLOCK) if k else generator.integers(-3, 4, BLOCK)
    coefficients = generator.integers(-40, 40, order).tolist()
    frames = [frame(i, BLOCK, 0, [lpc_subframe(samples, 16, coefficients, 5, k=k, partitions=i)]) for i in range(3)]
    content = flac_file(frames, 3 * BLOCK)
    np.testing.assert_array_equal(decoded(content, 0, 3 * BLOCK) * 32_768, np.tile(samples, 3))
    np.testing.assert_array_equal(decoded(content, 99, 600), by_libsndfile(content, 99, 600))


def test_a_long_unary_code():
    samples = np.zeros(BLOCK, np.int64)
    samples[[3, 200]] = 32_767, -32_768
    content = flac_file([frame(0, BLOCK, 0, [lpc_subframe(samples, 16, [1], 0, k=0)])], BLOCK)
    np.testing.assert_array_equal(decoded(content, 0, BLOCK), samples / 32_768)
    np.testing.assert_array_equal(by_libsndfile(content, 0, BLOCK), samples / 32_768)


@pytest.mark.parametrize("assignment", [1, 8, 9, 10])
@pytest.mark.parametrize("bits", [8, 16, 24])
def test_every_pairing_of_channels(assignment, bits):
    half = 1 << (bits - 1)
    generator = np.random.default_rng(bits)
    left, right = generator.integers(-half, half, (2, BLOCK))
    left[:2], right[:2] = (-half, half - 1), (half - 1, -half)  # the widest differences
    first, second = {
        1: (left, right),
        8: (left, left - right),
        9: (left - right, right),
        10: ((left + right) >> 1, left - right),
    }[assignment]
    widths = [bits + (assignment == 9), bits + (assignment in (8, 10))]
    subframes = [Bits().put(0b10, 8), Bits().put(0b10, 8)]  # verbatim
    for out, values, width in zip(subframes, (first, second), widths, strict=True):
        for value in values:
            out.put(int(value), width)
    content = flac_file([frame(0, BLOCK, assignment, subframes)], BLOCK, channels=2, bits=bits)
    expected = ((left / half).astype(np.float32) + (right / half).astype(np.float32)) / np.float32(2)
    np.testing.assert_array_equal(decoded(content, 0, BLOCK), expected)
    np.testing.assert_array_equal(by_libsndfile(content, 0, BLOCK), expected)


def test_samples_beyond_their_bits_are_left_to_libsndfile():
    samples = np.zeros(BLOCK, np.int64)
    samples[5] = 40_000
    subframe = lpc_subframe(samples, 16, [1], 0, k=12)
    assert residual_of(samples, [1], 0)[4] == 40_000
    content = flac_file([frame(0, BLOCK, 0, [subframe])], BLOCK)
    assert flac.read_mono(content, flac.plain_flac(content), 0, BLOCK) is None


def test_frames_of_any_sizes_are_found():
    """Silence and noise in turns: a guess in proportion is far off."""
    content = encoded(np.concatenate([sound(kind, 90_000, 1, 0) for kind in ("silence", "loud noise") * 3]))
    for start in range(0, 540_000, 7_919):
        np.testing.assert_array_equal(decoded(content, start, start + 9), by_libsndfile(content, start, start + 9))


def outcome(content: bytes) -> tuple[object, ...]:
    """What a reader gets of all of it: the samples and whether it is called truncated, or the error."""
    try:
        with Recording(content) as recording:
            return (recording.read().tobytes(), recording.info)
    except AudioError as error:
        return (str(error),)


SOUND = encoded(sound("quiet noise", 40_000, 1, 0))
BROKEN = {
    "a bit of a frame": SOUND[:30_000] + bytes([SOUND[30_000] ^ 0x10]) + SOUND[30_001:],
    "a bit of the first header": SOUND[:90] + bytes([SOUND[90] ^ 0x10]) + SOUND[91:],
    "the end": SOUND[: len(SOUND) // 2],
    "the end of the last frame": SOUND[:-1],
    "some bytes": SOUND[:30_000] + SOUND[30_050:],
    "all frames": SOUND[:86],
}


@pytest.mark.parametrize("damage", list(BROKEN))
def test_damaged_files_end_as_they_did(damage, monkeypatch):
    found = outcome(BROKEN[damage])
    plain = flac.plain_flac(BROKEN[damage])
    assert plain is None or flac.read_mono(BROKEN[damage], plain, 0, 40_000) is None
    monkeypatch.setattr(flac._Decoder, "read", None)
    assert outcome(BROKEN[damage]) == found


def test_frames_before_the_damage_are_read():
    for damage in ("a bit of a frame", "the end", "some bytes"):
        np.testing.assert_array_equal(decoded(BROKEN[damage], 100, 8_000), by_libsndfile(SOUND, 100, 8_000))


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(make):
    content = encoded(sound("tones", 9_000, 2, 0))
    np.testing.assert_array_equal(read_window(make(content), 0.1, 0.2), by_libsndfile(content, 2_205, 6_615))
    assert probe(make(content)) == probe(io.BytesIO(content).getvalue())


def test_what_a_header_says_is_what_libsndfile_says():
    for subtype in ("PCM_S8", "PCM_16", "PCM_24"):
        content = encoded(sound("tones", 5_000, 2, 0), subtype)
        info, expected = probe(content), sf.info(io.BytesIO(content))
        found = (info.n_samples, info.sampling_rate, info.n_channels, info.subtype)
        assert found == (expected.frames, expected.samplerate, expected.channels, expected.subtype)


def test_real_recordings_as_publish_writes_them(animals):
    seen = 0
    with open(animals / "val.tar.gz", "rb") as stream:
        for name, content in iterate_members(stream, where="val"):
            made = encode(content, "flac")
            if made.kept or not name.endswith(".wav"):
                continue
            n = flac.plain_flac(made.content).n_samples
            np.testing.assert_array_equal(decoded(made.content, n // 3, n), by_libsndfile(made.content, n // 3, n))
            seen += 1
    assert seen > 20


def test_six_channels_and_varying_blocks_are_left_to_libsndfile():
    assert flac.plain_flac(encoded(sound("tones", 500, 6, 0))) is None
    content = bytearray(encoded(sound("tones", 500, 1, 0)))
    content[8:10] = (1024).to_bytes(2, "big")  # the smallest block, now another than the largest
    assert flac.plain_flac(bytes(content)) is None


def test_the_decoder_is_loaded_when_enough_was_read(monkeypatch):
    loaded = flac._Decoder.read
    monkeypatch.setattr(flac._Decoder, "read", None)
    monkeypatch.setattr(flac, "WORTHWHILE_SAMPLES", 6_000)
    content = encoded(sound("tones", 5_000, 1, 0))
    first = read_window(content)
    assert not flac.ready()
    np.testing.assert_array_equal(read_window(content), first)
    assert flac.ready()
    np.testing.assert_array_equal(read_window(content), first)
    assert flac._Decoder.read is loaded


def test_who_reads_little_never_loads_numba():
    code = (
        "import io, sys, numpy as np, soundfile as sf\n"
        "from hf_inatsounds.audio import read_window\n"
        "out = io.BytesIO()\n"
        "sf.write(out, np.zeros(9_000), 22_050, format='FLAC')\n"
        "assert len(read_window(out.getvalue())) == 9_000\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
