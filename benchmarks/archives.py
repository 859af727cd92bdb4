"""Indexed archives against reading forward: time to a mixed batch, bytes, latency, throughput, build rate.

Makes its own class-ordered archive of noise. Examples:
  python -m benchmarks.archives --gigabytes 0.5
  python -m benchmarks.archives --gigabytes 4 --folder /tmp/noise --out archives.json
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

import hf_inatsounds
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.seek_index import file_names, read_index
from hf_inatsounds.archives.seekable import SeekableArchive, spans_of
from hf_inatsounds.data.ordering import mixed_order
from tests.helpers.archive_server import ArchiveServer
from tests.helpers.noise import write_noise

BATCH = 64
SEEDS = 5
DELAY_S = 0.08
PREFIX_BYTES = 1 << 30


def serve(folder, urls, delay_s):
    """A server in a process of its own, as a real one is; prints nothing, dies with its parent."""
    server = ArchiveServer(Path(folder))
    server.delay_s = delay_s
    urls.put(server.url)
    server.serve_forever()


@contextlib.contextmanager
def serving(folder, delay_s=0.0):
    """URL of a folder behind a server that lets each request wait."""
    urls = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(str(folder), urls, delay_s), daemon=True)
    server.start()
    yield urls.get()
    server.terminate()


def entropy_bits(labels):
    share = np.bincount(labels) / len(labels)
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum())


def mean_entropy(labels):
    return float(np.mean([entropy_bits(labels[i : i + BATCH]) for i in range(0, len(labels) - BATCH + 1, BATCH)]))


def timed(call):
    begin = time.perf_counter()
    value = call()
    return time.perf_counter() - begin, value


def drain(file):
    """Into one buffer: new ones for each piece would slow rapidgzip down by a fifth."""
    buffer, total = bytearray(1 << 20), 0
    while total < PREFIX_BYTES and (n := file.readinto(buffer)):
        total += n
    return total


def build_rate(folder, index):
    """Decompressed MB/s of the build against plain decompression, of the first GiB, by three libraries."""
    import rapidgzip
    from isal import igzip

    archive = folder / "train.tar.gz"
    found = {}
    for name, opened in (("gzip", gzip.open), ("isal", igzip.open), ("rapidgzip", rapidgzip.open)):
        with opened(str(archive)) as file:
            seconds, n = timed(lambda file=file: drain(file))
        found[f"plain {name}, MB/s"] = n / seconds / 1e6
    seconds, manifest = timed(lambda: IndexBuild(Source.parse(folder), "train", index).run())
    found["index build, MB/s"] = manifest["archive"]["decompressed_bytes"] / seconds / 1e6
    size = sum((index / name).stat().st_size for name in file_names("train").values())
    found["index, % of the archive"] = 100 * size / archive.stat().st_size
    return found


def load(source, index=None, name="all"):
    return hf_inatsounds.load_dataset(name, "train", source=str(source), index=index and str(index))


def batch_of(stream):
    iterator = iter(stream)
    batch = [next(iterator)["label"] for _ in range(BATCH)]
    iterator.close()
    return batch


def batches_by_index(source, index):
    """Seconds to the first shuffled batch of 64, opening included, and mean entropy, with SEEDS seeds."""
    load(source)  # the annotations are parsed, as they are for reading forward
    taken = [timed(lambda seed=seed: batch_of(load(source, index).shuffle(seed=seed))) for seed in range(SEEDS)]
    return float(np.median([seconds for seconds, _ in taken])), float(
        np.mean([entropy_bits(np.array(batch)) for _, batch in taken])
    )


def far_away(folder, index):
    """The same, where archive and index are behind servers that let each request wait."""
    with serving(folder, DELAY_S) as archive_url, serving(index, DELAY_S) as index_url:
        seconds, _ = batches_by_index(archive_url, index_url)
    return {f"first batch by index at {1000 * DELAY_S:.0f} ms a request, index far away too, s": seconds}


def first_batches(source, index, labels):
    """Seconds to a shuffled batch of 64, by index and by a buffer that mixes as well."""
    found = {}
    found["first batch by index, s"], found["its entropy, bits"] = batches_by_index(source, index)
    found["a perfect shuffle's, bits"] = mean_entropy(np.random.default_rng(0).permutation(labels))
    ours = mean_entropy(labels[mixed_rows(index)])
    found["mean over an epoch by index, bits"] = ours
    sizes = [n for n in (1000, 2000, 4000, 6000, 8000, 16_000) if n < len(labels)]
    buffer = next((n for n in sizes if mean_entropy(labels[buffered_rows(len(labels), n)]) >= ours), len(labels))
    found["shuffle buffer whose mean is as high, recordings"] = buffer
    # filling the buffer is the least that it takes; datasets 5.2's own fails with more than 2 GiB in it
    seconds, _ = timed(lambda: sum(1 for _ in islice(load(source), buffer)))
    found["filling that buffer forward, s"] = seconds
    found["sooner, times"] = seconds / found["first batch by index, s"]
    return found


def mixed_rows(index):
    """The order of an epoch by index, without reading a recording."""
    seek = read_index(Source.parse(index), "train")
    offsets = seek.members["offset"].to_numpy()
    blocks = np.searchsorted(seek.out, offsets, side="right") - 1
    _, starts, sizes = np.unique(blocks, return_index=True, return_counts=True)
    return np.array([starts[block] + k for block, k in mixed_order(sizes.tolist(), seed=0)])


def buffered_rows(n, size):
    """The order of an epoch through a shuffle buffer."""
    generator = np.random.default_rng(0)
    buffer, order = list(range(size)), []
    for row in range(size, n):
        i = int(generator.integers(size))
        order.append(buffer[i])
        buffer[i] = row
    return np.array(order + [buffer[i] for i in generator.permutation(size)])


def latency(source, index, n=50):
    archive = SeekableArchive(f"{source}/train.tar.gz", read_index(Source.parse(index), "train"))
    spans = spans_of(archive.index.members)
    chosen = np.random.default_rng(0).choice(len(spans), n, replace=False)
    times = [timed(lambda i=i: archive.read(spans[i]))[0] * 1000 for i in chosen]
    return {"random recording, ms (median)": float(np.median(times)), "(95 %)": float(np.quantile(times, 0.95))}


def throughput(source, index, workers, rows=600):
    from torch.utils.data import DataLoader

    stream = load(source, index).shuffle(seed=0).select_columns(["audio"])
    loader = iter(DataLoader(stream, batch_size=None, num_workers=workers))
    for _ in range(BATCH):
        next(loader)
    seconds, n = timed(lambda: sum(len(row["audio"]["bytes"]) for row, _ in zip(loader, range(rows), strict=False)))
    return n / seconds / 1e6


def peak_mb():
    """Most memory that this process had; the kernel's own note, since getrusage's is inherited from the parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) / 1e3


def build_memory(folder):
    """Peak memory of a process that builds an index."""
    code = (
        "import sys; from pathlib import Path; from benchmarks.archives import IndexBuild, Source, peak_mb\n"
        "IndexBuild(Source.parse(sys.argv[1]), 'train', Path(sys.argv[2])).run(); print(peak_mb())"
    )
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-c", code, str(folder), temporary]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"peak memory of an index build, MB": float(made.stdout)}


def stream_memory(source, index, rows=3000):
    """What a shuffled stream adds to a process's memory while it reads ``rows`` recordings, at the most."""
    code = (
        "import sys; from itertools import islice; from benchmarks.archives import load, peak_mb\n"
        "stream = load(sys.argv[1], sys.argv[2]).shuffle(seed=0); before = peak_mb()\n"
        "n = sum(1 for _ in islice(stream, int(sys.argv[3]))); print(before, peak_mb(), n)"
    )
    made = subprocess.run(
        [sys.executable, "-c", code, str(source), str(index), str(rows)], capture_output=True, text=True, check=True
    )
    before, peak, n = map(float, made.stdout.split())
    return {f"a shuffled stream over {n:.0f} recordings adds, MB": peak - before, "to the process's, MB": before}


def smallest(folder, index):
    """Bytes that the server sends for the rarest supercategory."""
    from tests.helpers.archive_server import archive_server

    with archive_server(folder) as server:
        stream = load(server.url, index, "reptilia")
        server.log.clear()
        rows = list(stream)
        sent = sum(server.log.sent_bytes.values())
    own = sum(len(row["audio"]["bytes"]) for row in rows)
    archive = read_index(Source.parse(index), "train").archive
    own *= archive["bytes"] / archive["decompressed_bytes"]
    return {
        "smallest supercategory, recordings": len(rows),
        "its compressed MB": own / 1e6,
        "MB sent for it": sent / 1e6,
        "bound, MB": (1.2 * own + (32 << 20)) / 1e6,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=0.5, help="of the compressed archive")
    parser.add_argument("--folder", type=Path, help="where the archive is made, or lies from an earlier run")
    parser.add_argument("--out", type=Path, help="JSON of the figures")
    arguments = parser.parse_args()
    temporary = tempfile.TemporaryDirectory()
    folder = arguments.folder or Path(temporary.name)
    folder.mkdir(parents=True, exist_ok=True)
    recordings = max(int(arguments.gigabytes * 1e9 / 345_000), 300)
    if not (folder / "train.json.tar.gz").exists():
        write_noise(folder, "train", recordings, species=min(400, recordings // 12))
    index = Path(temporary.name) / "index"
    index.mkdir()
    archive = folder / "train.tar.gz"
    figures = {"archive, GB": archive.stat().st_size / 1e9}
    figures |= build_rate(folder, index)
    labels = np.array([row["label"] for row in load(folder, name="annotations")])
    figures["recordings"] = len(labels)
    show(figures)
    with serving(folder) as url:
        more = {}
        for place, source in (("local", folder), ("http", url)):
            more |= {f"{place}: {key}": value for key, value in latency(source, index).items()}
            for workers in (0, 1, 2, 4):
                more[f"{place}: MB/s with {workers} workers"] = throughput(source, index, workers)
        more |= build_memory(folder) | stream_memory(url, index)
        more |= smallest(folder, index)
        show(more)
        batches = first_batches(url, index, labels) | far_away(folder, index)
        show(batches)
    if arguments.out:
        arguments.out.write_text(json.dumps(figures | more | batches, indent=2) + "\n")


def show(figures):
    for key, value in figures.items():
        print(f"| {key} | {value:,.2f} |" if isinstance(value, float) else f"| {key} | {value:,} |", flush=True)


if __name__ == "__main__":
    main()
