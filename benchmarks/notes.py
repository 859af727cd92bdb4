"""What stands below a benchmark's table: its goals, met or missed by the very figures, and where a peer is ahead.

python -m doctest benchmarks/notes.py
"""

from __future__ import annotations

from typing import Any

Figures = dict[str, Any]


def verdict(name: str, found: float, goal: float) -> str:
    """One goal and whether it is met.

    >>> verdict("3 s", 17.26, 12), verdict("10 s", 7.4, 10)
    ('3 s: 17.3 ×, met (goal 12)', '10 s: 7.4 ×, missed (goal 10)')
    """
    return f"{name}: {found:.1f} ×, {'met' if found >= goal else 'missed'} (goal {goal:g})"


def host(figures: Figures) -> str:
    """Of ``benchmarks.host``."""
    goals = []
    for example, found in figures.items():
        for ratio, value in found.items():
            peer, colon, ours = ratio.partition(" : ")
            if colon:
                kind = ours.removeprefix("ours, ")
                goals.append(f"- {verdict(f'{example}, {kind}', value, found[f'goal for {ours}'])}; peer: {peer}.")
    three = figures["3 s example"]
    share = three["our decoder alone, ms"] / three["ours, resampling on the device too, ms"]
    soxr_ms = three["ours, frontend on the device, ms"] - three["ours, resampling on the device too, ms"]
    return f"""Goals:

{chr(10).join(goals)}

With a GPU, training resamples on it (`resample_on: auto`), so that what its host pays is the figure with resampling on
the device. **Where the time goes** there, for 3 s of a recording of 18.5 s in the mean: decoding the window and finding
it {100 * share:.0f} %, the rest the Parquet row group, the draws and stacking. soxr on the host costs {soxr_ms:.2f}
ms on top of that.

**Where a peer is ahead**: whoever decodes each recording once and keeps it pays nothing afterwards, with 3.8 MB a
minute in float32 at 16 kHz. In the first epoch ours digests each recording too, to name duplicates, and our FLAC
decoder is loaded, or compiled ([decision 0022](decisions/0022-a-flac-decoder-in-numba.md)): those have their own
figures."""


def frontends(figures: Figures) -> str:
    """Of ``benchmarks.frontends``."""
    goals = []
    for name, case, goal in (("ast", "frontend", 3), ("spectrogram image", "frontend, the spectrogram alone", 5)):
        for seconds in (3, 10):
            found = figures[f"{name}, {seconds} s"][case]["times as fast"]
            goals.append(f"- {verdict(f'{name}, {seconds} s', found, goal)}")
    return f"""Goals, the spectrogram image against the float64 scipy STFT, AST against its extractor:

{chr(10).join(goals)}

`spectrogram()` is the authors' arithmetic, float32 spectrum and float64 filters, for every one of their pixels on the
host; it has no goal of its own. **Where a peer is ahead**: a case with less than 1 in `times as fast`."""


NOTES = {"host": host, "frontends": frontends}
