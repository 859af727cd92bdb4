"""Mutated headers and cut files of every format: each ends as audio or as AudioError, in bounded memory and time."""

import subprocess
import sys

import pytest

SECONDS = 8  # of processor time, so that a busy machine tries as many
MEMORY_BYTES = 3 << 30

FUZZ = f"""
import io, random, resource, sys, time
import numpy as np, soundfile as sf
from hf_inatsounds.audio import Recording
from hf_inatsounds.errors import AudioError
from hf_inatsounds.audio.wav import plain_wav

resource.setrlimit(resource.RLIMIT_AS, ({MEMORY_BYTES}, {MEMORY_BYTES}))
random.seed(int(sys.argv[1]))
noise = np.random.default_rng(0).standard_normal(12_000) * 0.1

def made(form, subtype, channels=1):
    out = io.BytesIO()
    sf.write(out, noise.reshape(-1, channels), 22_050, format=form, subtype=subtype)
    return out.getvalue()

seeds = [made(*one) for one in (
    ("WAV", "PCM_16"), ("WAV", "PCM_16", 2), ("WAV", "PCM_U8"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"),
    ("WAV", "IMA_ADPCM"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24", 2), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III"),
) if sf.check_format(*one[:2])]

def mutated():
    content = bytearray(random.choice(seeds))
    for _ in range(random.randint(0, 6)):
        near = random.random() < 0.7
        place = random.randrange(64 if near else len(content))
        content[place] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    if random.random() < 0.3:
        del content[random.randrange(len(content)):]
    if random.random() < 0.2:
        place = random.randrange(len(content) + 1)
        content[place:place] = bytes(random.randrange(256) for _ in range(random.randrange(40)))
    return bytes(content)

tries = read = refused = plain = 0
slowest, end = 0.0, time.process_time() + {SECONDS}
while time.process_time() < end:
    content = mutated()
    tries += 1
    began = time.process_time()
    try:
        with Recording(content) as recording:
            whole = recording.read(sampling_rate=random.choice((None, None, 16_000)))
            recording.read(0.2, 0.1, 16_000)
        assert whole.dtype == np.float32 and whole.ndim == 1 and np.isfinite(whole).all()
        read += 1
    except AudioError:
        refused += 1
    slowest = max(slowest, time.process_time() - began)
    found = plain_wav(content[:4096], len(content))
    if found is not None:  # what is read in place is what libsndfile reads
        plain += 1
        with sf.SoundFile(io.BytesIO(content)) as file:
            expected = file.read(dtype="float32", always_2d=True)
            assert (file.samplerate, file.channels) == (found.sampling_rate, found.n_channels)
        np.testing.assert_array_equal(found.samples(content, 0, found.n_samples), expected)
print(tries, read, refused, plain, slowest)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_files_end_as_audio_or_as_an_error(seed):
    done = subprocess.run([sys.executable, "-c", FUZZ, str(seed)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2_000:]
    tries, read, refused, plain, slowest = (float(word) for word in done.stdout.split())
    assert tries > 200
    assert min(read, refused, plain) > 10
    assert slowest < 10
