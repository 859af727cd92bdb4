"""What a benchmark can be asked for, by name: nothing heavy is imported, so that the command's help is quick."""

from __future__ import annotations

from typing import Literal, get_args

Protocol = Literal["zero-shot", "linear-probe", "few-shot", "attentive-probe", "fine-tune"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
"""How a model is judged on one fold; :mod:`protocols` runs them."""

SUITES = ("birdset", "beans", "birb", "anuraset", "esc10", "esc50", "folder")
"""Suites; :mod:`suites` has an adapter for each."""
