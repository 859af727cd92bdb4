"""Host cost of a training example, from FLAC inside Parquet to model input, on one core, against the ways others go.

    python -m benchmarks.host [--quick] [--json FILE]

Recordings: 120 of tones over noise, 22,050 Hz mono 16-bit FLAC in Parquet as `publish` writes it, their durations at
the quantiles of a log-normal distribution with the dataset's mean, 18.5 s, and a median of 8 s. Every run takes
all of them in the same order, cuts a random crop of each and makes batches of 15; the contenders take turns within a
run. A figure is the median over runs of the milliseconds of processor time that an example takes; a ratio is the median
of the ratios within a run. One thread everywhere (OMP_NUM_THREADS=1).

- `ours, frontend on the device`: row group, window, soxr, augmentation off, stacked (15, T); what a GPU is handed.
- `ours, resampling on the device too`: the same without soxr; how training on a GPU does it.
- `libsndfile alone`: soundfile opens the bytes, seeks and decodes the window.
- `ours, all on the CPU`: the first with the AST frontend, in batches.
- `transformers' example`: run_audio_classification: a prepared `datasets` table, each recording decoded whole and
  resampled whole to 16 kHz, a random subsample of it, ASTFeatureExtractor on the batch, stacked. Once with soundfile
  and soxr, as `datasets` did before it needed FFmpeg, and where torchcodec and FFmpeg are there, once with its `Audio`
  column as it is now. The peer of the ratios is the faster of them in the same run.
- `librosa`: librosa.load(offset, duration) and the extractor. `kaldi-native-fbank`: soundfile reads the window, soxr,
  then its filter banks as AST sets them, but for 80 bins: it refuses AST's 128.

The extractor's and the frontend's `max_length` are the frames of the example, not AST's 1024, for all of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import datasets
import librosa
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile as sf
import soxr
import torch
from scipy.stats import norm
from transformers import ASTFeatureExtractor

from hf_inatsounds.audio import probe
from hf_inatsounds.augmentation import WaveformAugmentation
from hf_inatsounds.data.annotations import Annotations
from hf_inatsounds.data.audio_column import torchcodec_available
from hf_inatsounds.data.labels import LabelSpace
from hf_inatsounds.data.mirror import Mirror
from hf_inatsounds.data.mirror_rows import MirrorRows
from hf_inatsounds.frontends import AstFrontend
from hf_inatsounds.publishing.shards import ROW_GROUP_BYTES, ROW_GROUP_ROWS, parquet_writer
from hf_inatsounds.training.crops import CropCollator, RecordingList

RATE, MODEL_RATE, BATCH = 22_050, 16_000, 15
SHARD = "data/0/train-00000.parquet"
MEAN_S, MEDIAN_S = 18.5, 8.0
KALDI_BINS = 80
"""Of AST's 128 it refuses those that are narrower than a bin of the DFT."""

GOALS = {3: {"device": 12.0, "cpu": 3.0}, 10: {"device": 10.0, "cpu": 3.0}}

PEERS = ("transformers' example, soundfile", "transformers' example, torchcodec")

Contender = Callable[[np.ndarray, int], Any]


def durations(n: int) -> np.ndarray:
    """Quantiles of a log-normal of the dataset's mean and median, the mean made exact."""
    sigma = np.sqrt(2 * np.log(MEAN_S / MEDIAN_S))
    drawn = MEDIAN_S * np.exp(sigma * norm.ppf((np.arange(n) + 0.5) / n))
    return np.maximum(drawn * MEAN_S / drawn.mean(), 0.08)


def made_flac(generator: np.random.Generator, duration_s: float) -> bytes:
    """Calls over coloured noise; FLAC takes about half of it, as of real recordings."""
    n = max(round(duration_s * RATE), 1)
    noise = np.convolve(generator.standard_normal(n + 7).astype(np.float32), np.hanning(9)[1:-1], "valid")[:n] * 0.01
    t = np.arange(n, dtype=np.float32) / RATE
    pitch = float(generator.uniform(1_000, 7_000))
    calls = np.sin(2 * np.pi * pitch * t) * (np.sin(2 * np.pi * 0.9 * t) > 0.7) * 0.2
    out = io.BytesIO()
    sf.write(out, np.resize(noise, n) + calls, RATE, format="FLAC", subtype="PCM_16", compression_level=0.5)
    return out.getvalue()


def rows_of_mirror(folder: Path) -> MirrorRows:
    """The rows of what :func:`make_mirror` made, as ``train`` reads a mirror in a folder."""
    known = pq.read_table(folder / SHARD, columns=["recording_id", "label", "file_name"])
    for name in ("latitude", "longitude"):
        known = known.append_column(name, pa.nulls(len(known), pa.float64()))
    mirror = Mirror(str(folder), None, {"files": [{"path": SHARD}]}, folder=folder)
    return MirrorRows(mirror, Annotations("train", known, LabelSpace(())))


def make_mirror(folder: Path, n: int) -> float:
    """A mirror of one shard; its FLAC bytes as a share of WAV's."""
    path = folder / SHARD
    path.parent.mkdir(parents=True)
    generator = np.random.default_rng(0)
    lengths = durations(n)
    features = datasets.Features(
        {
            "recording_id": datasets.Value("int64"),
            "audio": datasets.Audio(RATE, decode=False),
            "label": datasets.Value("int64"),
            "file_name": datasets.Value("string"),
        }
    )
    total, rows = 0, []
    with parquet_writer(path, features.arrow_schema) as writer:
        for i in generator.permutation(n):
            content = made_flac(generator, float(lengths[i]))
            name = f"train/{i:05d}.flac"
            rows.append(
                {"recording_id": int(i), "audio": {"bytes": content, "path": name}, "label": 0, "file_name": name}
            )
            total += len(content)
            if sum(len(row["audio"]["bytes"]) for row in rows) >= ROW_GROUP_BYTES or len(rows) == ROW_GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(rows, features.arrow_schema), row_group_size=len(rows))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, features.arrow_schema), row_group_size=len(rows))
    return total / (lengths.sum() * RATE * 2)


class Bench:
    """The contenders, each from numbers of rows to what the model is handed."""

    def __init__(self, folder: Path, cache: Path, size_s: int) -> None:
        self.size_s, self.size = size_s, size_s * MODEL_RATE
        frames = 1 + (self.size - 400) // 160
        self.recordings = RecordingList(rows_of_mirror(folder))
        self.recordings._digested[:] = True  # as from the second epoch on; the digest has its own figure
        self.extractor = ASTFeatureExtractor(max_length=frames)
        self.frontend = AstFrontend(max_length=frames)
        self.table = datasets.Dataset.from_parquet(str(folder / SHARD), cache_dir=str(cache), keep_in_memory=False)
        self.decoded = self.table.cast_column("audio", datasets.Audio(MODEL_RATE))
        self.table = self.table.cast_column("audio", datasets.Audio(MODEL_RATE, decode=False))
        self.seed = 0

    def contenders(self) -> dict[str, Contender]:
        """By name; the peers whose path the goals are measured against come first."""
        found: dict[str, Contender] = {PEERS[0]: self.example}
        if torchcodec_available():
            found[PEERS[1]] = self.example_by_torchcodec
        found |= {
            "librosa": self.librosa,
            "ours, frontend on the device": self.host,
            "ours, resampling on the device too": self.host_without_resampling,
            "ours, all on the CPU": self.cpu,
            "libsndfile alone": self.libsndfile,
        }
        if importlib.util.find_spec("kaldi_native_fbank"):
            found["kaldi-native-fbank"] = self.kaldi
        return found

    def host(self, numbers: np.ndarray, run: int, rate: int = MODEL_RATE) -> Any:
        self.recordings.set_epoch(run)
        collate = CropCollator(self.size_s, rate, WaveformAugmentation(), 400, seed=0)
        return collate(self.recordings.__getitems__(numbers.tolist()))

    def host_without_resampling(self, numbers: np.ndarray, run: int) -> Any:
        return self.host(numbers, run, RATE)

    def cpu(self, numbers: np.ndarray, run: int) -> Any:
        batch = self.host(numbers, run)
        with torch.inference_mode():
            return self.frontend(batch["waveforms"], batch["lengths"])

    def example(self, numbers: np.ndarray, run: int) -> Any:
        """transformers' run_audio_classification, decoding as datasets did before it needed FFmpeg."""
        waves = (
            sf.read(io.BytesIO(audio["bytes"]), dtype="float32") for audio in self.table[numbers.tolist()]["audio"]
        )
        return self.subsampled((soxr.resample(wave, rate, MODEL_RATE) for wave, rate in waves), run)

    def example_by_torchcodec(self, numbers: np.ndarray, run: int) -> Any:
        """The same with the ``Audio`` column as it is now."""
        return self.subsampled((audio["array"] for audio in self.decoded[numbers.tolist()]["audio"]), run)

    def subsampled(self, waves: Iterable[np.ndarray], run: int) -> Any:
        """Its random_subsample, and the extractor on the batch."""
        generator = np.random.default_rng(run)
        crops = []
        for wave in waves:
            start = int(generator.integers(0, max(len(wave) - self.size, 0) + 1))
            crops.append(np.asarray(wave[start : start + self.size]))
        return self.stacked(self.extractor([self.long_enough(crop) for crop in crops], sampling_rate=MODEL_RATE))

    def windows(self, numbers: np.ndarray, run: int) -> Any:
        """(bytes, offset, duration) of a random window of each."""
        generator = np.random.default_rng(run)
        for audio in self.table[numbers.tolist()]["audio"]:
            content = audio["bytes"]
            spare = max(probe(content).duration_s - self.size_s, 0.0)
            yield content, float(generator.uniform(0.0, spare))

    def librosa(self, numbers: np.ndarray, run: int) -> Any:
        crops = [
            librosa.load(io.BytesIO(content), sr=MODEL_RATE, offset=offset, duration=self.size_s)[0]
            for content, offset in self.windows(numbers, run)
        ]
        return self.stacked(self.extractor([self.long_enough(crop) for crop in crops], sampling_rate=MODEL_RATE))

    def libsndfile(self, numbers: np.ndarray, run: int) -> Any:
        crops = []
        for content, offset in self.windows(numbers, run):
            with sf.SoundFile(io.BytesIO(content)) as file:
                file.seek(int(offset * RATE))
                crops.append(file.read(self.size_s * RATE, dtype="float32"))
        return crops

    def kaldi(self, numbers: np.ndarray, run: int) -> Any:
        import kaldi_native_fbank as knf

        options = knf.FbankOptions()
        options.frame_opts.dither, options.frame_opts.window_type = 0.0, "hanning"
        options.frame_opts.samp_freq, options.mel_opts.num_bins = MODEL_RATE, KALDI_BINS
        options.htk_compat, options.use_energy = True, False
        features = torch.zeros(len(numbers), self.extractor.max_length, KALDI_BINS)
        for row, (content, offset) in zip(features, self.windows(numbers, run), strict=True):
            with sf.SoundFile(io.BytesIO(content)) as file:
                file.seek(int(offset * RATE))
                crop = soxr.resample(file.read(self.size_s * RATE, dtype="float32"), RATE, MODEL_RATE)
            bank = knf.OnlineFbank(options)
            bank.accept_waveform(MODEL_RATE, crop)
            n = min(bank.num_frames_ready, len(row))
            if n:
                row[:n] = torch.from_numpy(np.stack([bank.get_frame(i) for i in range(n)]))
        return (features - self.extractor.mean) / (2 * self.extractor.std)

    @staticmethod
    def long_enough(crop: np.ndarray) -> np.ndarray:
        """The extractor fails on fewer samples than a frame has."""
        return crop if len(crop) >= 400 else np.pad(crop, (0, 400 - len(crop)))

    @staticmethod
    def stacked(features: Any) -> torch.Tensor:
        return torch.from_numpy(np.stack(features["input_values"]))


def timed_runs(bench: Bench, runs: int) -> dict[str, list[float]]:
    """Milliseconds an example of each contender in each run, the contenders taking turns."""
    numbers = bench.recordings.order(0, 0, BATCH)
    batches = [numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH)]
    times: dict[str, list[float]] = {name: [] for name in bench.contenders()}
    for contend in bench.contenders().values():  # imports, caches, filters
        contend(batches[0], 0)
    for run in range(runs):
        for name, contend in bench.contenders().items():
            began = time.process_time()
            for batch in batches:
                contend(batch, run)
            times[name].append(1000 * (time.process_time() - began) / len(numbers))
    return times


def summary(times: dict[str, list[float]], size_s: int) -> dict[str, Any]:
    """Medians, and ratios within runs against the goals."""
    found: dict[str, Any] = {f"{name}, ms": statistics.median(values) for name, values in times.items()}
    peer = min((name for name in PEERS if name in times), key=lambda name: statistics.median(times[name]))
    for kind, ours in (
        ("device", "ours, frontend on the device"),
        ("device", "ours, resampling on the device too"),
        ("cpu", "ours, all on the CPU"),
    ):
        pairs = zip(times[peer], times[ours], strict=True)
        found[f"{peer} : {ours}"] = statistics.median([peer / mine for peer, mine in pairs])
        found[f"goal for {ours}"] = GOALS[size_s][kind]
    return found


def digest_ms(bench: Bench) -> float:
    """What the digest adds to an example in the first epoch."""
    from hf_inatsounds.audio.defects import digest_of

    contents = [row["audio"]["bytes"] for row in bench.recordings.rows.take(range(45))]
    began = time.process_time()
    for content in contents:
        digest_of(content)
    return 1000 * (time.process_time() - began) / len(contents)


def figures(quick: bool = False) -> dict[str, Any]:
    """All figures of this benchmark."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        mirror = Path(folder) / "mirror"
        share = make_mirror(mirror, 45 if quick else 120)
        for size_s in GOALS:
            bench = Bench(mirror, Path(folder) / "cache", size_s)
            found[f"{size_s} s example"] = summary(timed_runs(bench, 3 if quick else 5), size_s)
        found["setting"] = {
            "FLAC, share of WAV": share,
            "digest of a recording, once a run, ms": digest_ms(bench),
            "torchcodec": importlib.metadata.version("torchcodec")
            if torchcodec_available()
            else "does not import here: it needs FFmpeg",
            "torchaudio": "compared in 'frontends'"
            if importlib.util.find_spec("torchaudio")
            else "does not install here",
        }
        del bench
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three runs of 45 recordings instead of five of 120")
    parser.add_argument("--json", type=Path, help="where the figures go, besides stdout")
    arguments = parser.parse_args()
    text = json.dumps(figures(arguments.quick), indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
