"""What stands below a benchmark's table besides its goals: where the time goes, and where a peer is ahead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Figures = dict[str, Any]


def host(figures: Figures) -> str:
    """Of ``benchmarks.host``."""
    three = figures["3 s example"]
    share = three["libsndfile alone, ms"] / three["ours, resampling on the device too, ms"]
    soxr_ms = three["ours, frontend on the device, ms"] - three["ours, resampling on the device too, ms"]
    return f"""With a GPU, training resamples on it (`resample_on: auto`), so that what its host pays is the figure with
resampling on the device. **Where the time goes** there, for 3 s of a recording of 18.5 s in the mean: decoding the
window and finding it {100 * share:.0f} %, the rest the Parquet row group, the draws and stacking. soxr on the host
costs {soxr_ms:.2f} ms on top of that.

**Where a peer is ahead**: whoever decodes each recording once and keeps it pays nothing afterwards, with 3.8 MB a
minute in float32 at 16 kHz. In the first epoch ours digests each recording too, to name duplicates: that has
a figure of its own."""


def frontends(figures: Figures) -> str:
    """Of ``benchmarks.frontends``."""
    return """The spectrogram image's peer is the float64 scipy STFT, AST's its extractor. `spectrogram()` is the
authors' arithmetic, float32 spectrum and float64 filters, for every one of their pixels on the host; it has no goal of
its own. **Where a peer is ahead**: a case with less than 1 in `times as fast`."""


def archives(figures: Figures) -> str:
    """Of ``benchmarks.archives``."""
    return """What filling the buffer costs grows with the archive, the first batch does not. A build digests the
archive, checks each point and reads the members beside decompressing; plain decompression does none of that."""


NOTES: dict[str, Callable[[Figures], str]] = {"host": host, "frontends": frontends, "archives": archives}


def text(name: str, figures: Figures) -> str:
    """A benchmark's notes; empty where it has none, or where its figures, of an earlier version, lack some."""
    try:
        return NOTES[name](figures) if name in NOTES else ""
    except KeyError:
        return ""
