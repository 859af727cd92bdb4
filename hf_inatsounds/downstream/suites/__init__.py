"""Suites: one adapter each, from a folder in the benchmark's own layout to tasks of clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hf_inatsounds.downstream.clips import Suite
from hf_inatsounds.downstream.suites.annotated_folder import load_folder
from hf_inatsounds.downstream.suites.anuraset import load_anuraset
from hf_inatsounds.downstream.suites.beans import load_beans
from hf_inatsounds.downstream.suites.birb import load_birb
from hf_inatsounds.downstream.suites.birdset import load_birdset
from hf_inatsounds.downstream.suites.esc import load_esc10, load_esc50
from hf_inatsounds.errors import ArgumentsError, SuiteError

SUITES: dict[str, Callable[[Path, Sequence[str]], Suite]] = {
    "birdset": load_birdset,
    "beans": load_beans,
    "birb": load_birb,
    "anuraset": load_anuraset,
    "esc10": load_esc10,
    "esc50": load_esc50,
    "folder": load_folder,
}
"""Suite → its adapter, which takes the folder and the names of the datasets wanted (none: all that are there)."""


SEVERAL = ("birdset", "beans")
"""Suites of several data sets, of which some may be chosen."""


def load_suite(name: str, data: str | Path, only: Sequence[str] = ()) -> Suite:
    """Read a suite; recordings are probed, not decoded.

    Args:
        name: a key of ``SUITES``.
        data: the folder that holds it.
        only: names of the datasets wanted; none: all that are there.

    Raises:
        ArgumentsError: a subset of a suite that has none.
        SuiteError: unknown suite, or whatever is missing or wrong in the folder.
        AudioError: a recording that is empty or cannot be read.
    """
    if name not in SUITES:
        raise SuiteError("unknown suite", where="--suite", found=repr(name), expected=", ".join(SUITES))
    folder = Path(data).expanduser()
    if not folder.is_dir():
        raise SuiteError("no such folder", where=folder, expected=f"the {name} suite")
    if only and name not in SEVERAL:
        raise ArgumentsError("a suite of one data set", where="--subset", found=only[0], expected=f"none with {name}")
    return SUITES[name](folder, only)
