"""The command line's parser and the types of its arguments: what no run could use is refused in one line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hf_inatsounds.archives.fetch import is_repo_id
from hf_inatsounds.data.selection_keys import HELP
from hf_inatsounds.errors import ArgumentsError, encodable, printable, shortened
from hf_inatsounds.runtime.ranges import BATCH_SIZE, SECONDS, SEED, Range

MOST_IN_NAME_BYTES = 255
"""Of one name in a path, on every file system in use."""


class OneLineParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line and exits with 2; ``--help`` has the usage."""

    def error(self, message: str) -> NoReturn:
        """Say it."""
        line = printable(shortened(" ".join(message.split())))
        self.exit(2, f"{self.prog}: error: {line} (see {self.prog} --help)\n")


def whole_number(numbers: Range) -> Callable[[str], int]:
    """The type of an integer within a range.

    >>> whole_number(Range(1, 5))("3")
    3
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise _refused("a whole number", text) from None
        if value not in numbers:
            raise _refused(str(numbers), text)
        return value

    return read


def number(numbers: Range) -> Callable[[str], float]:
    """The type of a number within a range.

    >>> number(Range(0, 1))("0.5")
    0.5
    """

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise _refused("a number", text) from None
        if value not in numbers:
            raise _refused(str(numbers), text)
        return value

    return read


seed = whole_number(SEED)
batch_size = whole_number(BATCH_SIZE)
window_s = number(SECONDS)
stride_s = number(SECONDS)
share = number(Range(0, 1))
resamples = whole_number(Range(1, 10_000))
"""2 GB of weights with 10,000 resamples of the official test split."""
PROCESSES = Range(1, max(8, 4 * (os.cpu_count() or 1)))
"""More than that on one machine only take memory from each other."""
processes = whole_number(PROCESSES)


def whole_numbers(numbers: Range) -> Callable[[str], tuple[int, ...]]:
    """The type of integers with commas between them.

    >>> whole_numbers(Range(1, 5))("1,2")
    (1, 2)
    """
    one = whole_number(numbers)
    return lambda text: tuple(one(word) for word in text.split(","))


def name(text: str) -> str:
    """A text that says something: a model, a file, a split of a source.

    >>> name("runs/ast")
    'runs/ast'
    """
    if not text.strip() or "\0" in text:
        raise _refused("a text with something in it", text)
    if "://" not in text and max(len(os.fsencode(part)) for part in text.split("/")) > MOST_IN_NAME_BYTES:
        raise _refused(f"names of at most {MOST_IN_NAME_BYTES} bytes", text)
    return text


def output_file(text: str) -> str:
    """A file to write, which may be there already."""
    if os.path.isdir(name(text)) or text.endswith(("/", os.sep)):
        raise _refused("a file, not a folder", text)
    _check_above(text)
    return text


def output_folder(text: str) -> str:
    """A folder to write into, which need not be there yet."""
    if os.path.exists(name(text)) and not os.path.isdir(text):
        raise _refused("a folder, not a file", text)
    _check_above(text)
    return _in_utf8(text)


def prior_file(text: str) -> str:
    """A range prior to write."""
    if not output_file(text).endswith(".safetensors"):
        raise _refused("a name that ends in .safetensors", text)
    return _in_utf8(text)


def repository(text: str) -> str:
    """A repository on the Hub."""
    if not is_repo_id(text):
        raise _refused("owner/name, as the Hub has them", text)
    return text


def device(text: str) -> str:
    """Where a model runs, by its name; whether it is here is seen when the model is loaded.

    >>> device("cuda:1")
    'cuda:1'
    """
    if not re.fullmatch(r"auto|(cpu|cuda|xpu|mps)(:\d{1,3})?", text):
        raise _refused("auto, cpu, cuda, cuda:1, xpu or mps", text)
    return text


def add_selection(parser: argparse.ArgumentParser) -> None:
    """``--name`` and ``--select``: which recordings of a dataset."""
    parser.add_argument("--name", type=name, default="all", help="all, a supercategory, or evaluation (default: all)")
    add_select(parser)


def add_select(parser: argparse.ArgumentParser) -> None:
    """``--select`` alone."""
    parser.add_argument("--select", type=condition, action="append", metavar="KEY=VALUE", help=HELP)


def condition(text: str) -> str:
    """A condition of a selection; whether its names are in the annotations is seen when they are read.

    >>> condition("family=Ranidae")
    'family=Ranidae'
    """
    from hf_inatsounds.data.selection_values import read_conditions

    try:
        read_conditions([text])
    except ArgumentsError as error:
        raise argparse.ArgumentTypeError(shortened(str(error), 250)) from None
    return text


def _in_utf8(text: str) -> str:
    """A path in which Arrow and safetensors can write: they open no other."""
    if encodable(text) != text:
        raise _refused("a name in UTF-8", text)
    return text


def _check_above(text: str) -> None:
    """No folder above a path is a file."""
    for above in Path(text).parents:
        if os.path.exists(above):
            if not os.path.isdir(above):
                raise _refused("a path below a folder", text)
            return


def _refused(expected: str, text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"must be {expected}, got {shortened(text, 60) or 'nothing'}")
