"""What the figures of a run say of the goals that were set: sentences made of the figures themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.official_size import ALL_CLASSES, MOST_EXPONENT, MOST_GB, MOST_GB_ALL_CLASSES

Figures = dict[str, Any]


def verdict(what: str, found: float, goal: float, *, at_most: bool = False) -> str:
    """One goal's sentence part.

    >>> verdict("AST, times its extractor", 6.84, 3)
    'AST, times its extractor: 6.84, goal at least 3, met'
    >>> verdict("index, % of the archive", 1.3, 1.2, at_most=True)
    'index, % of the archive: 1.3, goal at most 1.2, missed'
    """
    met = found <= goal if at_most else found >= goal
    return f"{what}: {found:.4g}, goal at {'most' if at_most else 'least'} {goal:.4g}, {'met' if met else 'missed'}"


def archives(figures: Figures) -> list[str]:
    """The goals of the dataset's archives."""
    build = figures["index build, MB/s"]
    plain = {name: figures[f"plain {name}, MB/s"] for name in ("gzip", "isal", "rapidgzip")}
    return [
        verdict("first batch by index, times sooner", figures["sooner, times"], 50),
        verdict(
            "MB sent for the smallest supercategory", figures["MB sent for it"], figures["bound, MB"], at_most=True
        ),
        verdict("index, % of the archive", figures["index, % of the archive"], 1.2, at_most=True),
        *(verdict(f"build, % of plain {name}", 100 * build / rate, 80) for name, rate in plain.items()),
    ]


def publish(figures: Figures) -> list[str]:
    """The goals of ``publish``."""
    speed = figures["speed"]
    return [
        verdict("MB of WAV a second of one core", speed["wav_mb_per_cpu_s"], 60),
        verdict("peak memory, MB", speed["peak_rss_mb"], 2000, at_most=True),
    ]


def frontends(figures: Figures) -> list[str]:
    """The goals of the frontends on the CPU, each against its peer."""
    return [
        verdict(f"{name}, {size}, times as fast", figures[f"{name}, {size}"][contender]["times as fast"], goal)
        for name, contender, goal in (
            ("ast", "frontend", 3),
            ("spectrogram image", "frontend, the spectrogram alone", 5),
        )
        for size in ("3 s", "10 s")
    ]


def host(figures: Figures) -> list[str]:
    """The goals of an example's host cost, which stand among the figures."""
    return [
        verdict(f"{size}: {name.removeprefix('goal for ')}, times", found[_ratio(found, name)], goal)
        for size, found in figures.items()
        for name, goal in found.items()
        if name.startswith("goal for ")
    ]


def metrics(figures: Figures) -> list[str]:
    """The goals of all file-level metrics at the official test split's size."""
    return [
        verdict("times as fast as the authors' algorithm, extrapolated", figures["ratio"], 100),
        verdict("seconds", figures["seconds"], 60, at_most=True),
        verdict("peak memory, GiB", figures["peak_gib"], 4, at_most=True),
    ]


def training(figures: Figures) -> list[str]:
    """The goal of training's throughput on a CPU."""
    return [
        verdict(f"{case}, times the peer's examples per second", found["ratio"], 1.5)
        for case, found in figures.items()
        if case.startswith("cpu, ")
    ]


def official_size(figures: Figures) -> list[str]:
    """The limits of every command at the official size: growth, and memory of a process."""
    used = {name: found for name, found in figures.items() if isinstance(found, dict)}
    said = []
    if all("exponent" in found for found in used.values()):
        steepest = max(used, key=lambda name: float(used[name]["exponent"]))
        what = f"largest exponent, of {steepest}"
        said.append(verdict(what, used[steepest]["exponent"], MOST_EXPONENT, at_most=True))
    gb = {name: found["largest process, GB"] for name, found in used.items()}
    every = gb.pop(ALL_CLASSES)
    largest = max(gb, key=lambda name: float(gb[name]))
    return [
        *said,
        verdict(f"largest process, GB, of {largest}", gb[largest], MOST_GB, at_most=True),
        verdict(f"largest process of {ALL_CLASSES}, GB", every, MOST_GB_ALL_CLASSES, at_most=True),
    ]


def _ratio(found: Figures, name: str) -> str:
    return next(key for key in found if key.endswith(f" : {name.removeprefix('goal for ')}"))


GOALS: dict[str, Callable[[Figures], list[str]]] = {
    "archives": archives,
    "publish": publish,
    "frontends": frontends,
    "host": host,
    "metrics": metrics,
    "training": training,
    "official_size": official_size,
}
"""Benchmark → its goals' sentences."""


def text(name: str, figures: Figures) -> str:
    """A benchmark's goals as a paragraph; empty where it has none, or where its figures lack what they need.

    >>> text("publish", {"speed": {"wav_mb_per_cpu_s": 63.0, "peak_rss_mb": 259}}).splitlines()[-1]
    '- peak memory, MB: 259, goal at most 2000, met'
    """
    if name not in GOALS:
        return ""
    try:
        lines = GOALS[name](figures)
    except (KeyError, StopIteration):
        return ""  # figures of an earlier version of the benchmark
    return "\n".join(["Goals:", *(f"- {line}" for line in lines)])
