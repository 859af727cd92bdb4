"""Frontends against what they stand for: one core, medians of paired runs; on a GPU where there is one.

    OMP_NUM_THREADS=1 python -m benchmarks.frontends [--data FOLDER] [--rounds 15]

Peers, each in the same run: transformers' own extractors one clip at a time, as they take them; kaldi-native-fbank and
torchaudio where they are installed; and for spectrogram images a scipy STFT written to the same definition. On the CPU
processor time is taken, of one thread; on the GPU time by the clock.
"""

import argparse
import ctypes
import importlib.util
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.signal
import torch
import transformers

from hf_inatsounds.frontends import AstFrontend, SpectrogramImageFrontend, frontend_for
from hf_inatsounds.frontends.image_settings import SCALES
from hf_inatsounds.frontends.spectrogram_image import MAGNITUDE_FLOOR

BATCH = 16
EXTRACTORS = {
    "ast": lambda seconds: transformers.ASTFeatureExtractor(max_length=round(seconds * 100) - 2),
    "wav2vec2": lambda seconds: transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    "wav2vec2-bert": lambda seconds: transformers.SeamlessM4TFeatureExtractor(),
    "whisper": lambda seconds: transformers.WhisperFeatureExtractor(chunk_length=seconds),
}


def medians(
    cases: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, float]:
    """Median seconds of each case, the cases taking turns."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, run in cases.items():
            began = clock()
            run()
            if turn:  # the first is a warm-up
                times[name].append(clock() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def clips(data: Path | None, seconds: int, rate: int) -> np.ndarray:
    """(16, T) float32: recordings, repeated to the length; noise without a folder."""
    if data is None:
        return (0.1 * np.random.default_rng(0).standard_normal((BATCH, seconds * rate))).astype(np.float32)
    from hf_inatsounds.audio import read_window
    from hf_inatsounds.data.loading import load_dataset

    rows = load_dataset(split="validation", source=str(data)).take(BATCH)
    heard = [read_window(row["audio"], 0.0, float(seconds), rate) for row in rows]
    return np.stack([np.resize(one, seconds * rate) for one in heard])


def keep_memory() -> None:
    """Let glibc keep what is freed: by default, and by what ran before, scipy in float64 may pay page faults for new
    memory at every call, and take twice as long. Peers are measured at their best.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD


def spectrogram_by_scipy(waveform: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """The authors' raw variant, as one writes it with scipy."""
    scale = SCALES["raw"]
    spectrum = scipy.signal.stft(
        waveform * 32_768, 22_050, "hann", nperseg=512, noverlap=384, nfft=1024, boundary=None, padded=False
    )[2]
    level = 20 * np.log10(np.maximum(2 * np.abs(spectrum).T @ mel, MAGNITUDE_FLOOR)).T
    level = np.clip(level, scale.lowest_db, scale.highest_db)
    return ((level - scale.lowest_db) * 255 / (scale.highest_db - scale.lowest_db)).astype(np.uint8)


def spectrogram_images(waveforms: np.ndarray, rounds: int) -> dict[str, float]:
    frontend = SpectrogramImageFrontend("raw", n_frames=1 + (waveforms.shape[1] - 512) // 128)
    mel, mel32 = frontend._authors_mel, frontend._authors_mel.astype(np.float32)
    batch, lengths = torch.from_numpy(waveforms), torch.full((BATCH,), waveforms.shape[1])
    doubles = waveforms.astype(np.float64)
    return medians(
        {
            "scipy, float64": lambda: [spectrogram_by_scipy(one, mel) for one in doubles],
            "scipy, float32": lambda: [spectrogram_by_scipy(one, mel32) for one in waveforms],
            "spectrogram(), the authors' pixels": lambda: [frontend.spectrogram(one) for one in waveforms],
            "frontend, the spectrogram alone": lambda: frontend._pixels(batch, frontend.settings.n_frames),
            "frontend, to pixel_values": lambda: frontend(batch, lengths),
        },
        rounds,
    )


def kaldi(waveforms: np.ndarray) -> None:
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = 80  # it refuses the 128 of AST, some of which are empty
    for one in waveforms:
        fbank = kaldi_native_fbank.OnlineFbank(options)
        fbank.accept_waveform(16_000, one.tolist())
        fbank.input_finished()
        np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def torchaudio_fbank(waveforms: torch.Tensor) -> None:
    from torchaudio.compliance import kaldi as compliance

    for one in waveforms:
        compliance.fbank(one[None], sample_frequency=16_000, window_type="hanning", num_mel_bins=128, dither=0.0)


def extractors(name: str, waveforms: np.ndarray, seconds: int, rounds: int) -> dict[str, float]:
    extractor = EXTRACTORS[name](seconds)
    frontend = frontend_for(extractor)
    batch, lengths = torch.from_numpy(waveforms), torch.full((BATCH,), waveforms.shape[1])
    cases: dict[str, Callable[[], object]] = {
        type(extractor).__name__: lambda: [
            extractor(one, sampling_rate=16_000, return_tensors="pt") for one in waveforms
        ],
        "frontend": lambda: frontend.model_inputs(batch, lengths),
    }
    if name == "ast":
        quick = AstFrontend.from_feature_extractor(extractor, precision="float32")
        cases["frontend, float32"] = lambda: quick.model_inputs(batch, lengths)
        if importlib.util.find_spec("kaldi_native_fbank"):
            cases["kaldi-native-fbank, 80 bands"] = lambda: kaldi(waveforms)
        if importlib.util.find_spec("torchaudio"):
            cases["torchaudio"] = lambda: torchaudio_fbank(batch)
    return medians(cases, rounds)


def on_gpu(name: str, waveforms: np.ndarray, seconds: int, rounds: int) -> dict[str, float]:
    """The same frontend on the GPU, eager and compiled, in batches of 128 clips."""
    extractor = EXTRACTORS[name](seconds) if name in EXTRACTORS else None
    frontend = (frontend_for(extractor) if extractor else SpectrogramImageFrontend()).cuda()
    batch = torch.from_numpy(waveforms).repeat(8, 1).cuda()
    lengths = torch.full((len(batch),), batch.shape[1], device="cuda")
    compiled = torch.compile(frontend.model_inputs)

    def timed(run: Callable[..., object]) -> Callable[[], None]:
        def once() -> None:
            run(batch, lengths)
            torch.cuda.synchronize()

        return once

    cases = {"GPU, eager": timed(frontend.model_inputs), "GPU, compiled": timed(compiled)}
    found = medians(cases, rounds, time.perf_counter)
    return {case: seconds * BATCH / len(batch) for case, seconds in found.items()}


def measure(data: Path | None, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Milliseconds a clip, and how many times as fast as the first peer, by frontend and length."""
    results = {}
    for seconds in (3, 10):
        found = {"spectrogram image": spectrogram_images(clips(data, seconds, 22_050), rounds)}
        waveforms = clips(data, seconds, 16_000)
        found |= {name: extractors(name, waveforms, seconds, rounds) for name in EXTRACTORS}
        if torch.cuda.is_available():
            for name in found:
                found[name] |= on_gpu(
                    name, clips(data, seconds, 16_000 if name in EXTRACTORS else 22_050), seconds, rounds
                )
        for name, times in found.items():
            peer = next(iter(times.values()))
            results[f"{name}, {seconds} s"] = {
                case: {"ms": round(1e3 * value / BATCH, 3), "times as fast": round(peer / value, 2)}
                for case, value in times.items()
            }
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="a source in the official layout; noise without one")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    machine = {
        "processor": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    with torch.inference_mode():
        print(json.dumps({"machine": machine, **measure(arguments.data, arguments.rounds)}, indent=2))
