"""One place for what commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

from hf_inatsounds import progress
from hf_inatsounds.errors import printable
from hf_inatsounds.files import defined


def show(value: Any, text: str, *, as_json: bool) -> None:
    """Print ``value`` as one JSON document, undefined numbers as null, or ``text`` for a person."""
    print(_json_line(defined(value)) if as_json else printable(text, lines=True), flush=True)


def _json_line(value: Any) -> str:
    """JSON that no terminal obeys and that stdout's encoding has: what it has not, and what is invisible, escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1].replace("\x7f", "\\u007f") for c in text)


def note(line: str, *, quiet: bool = False) -> None:
    """A line on stderr for a person who watches."""
    progress.note(line, quiet=quiet)


def never_fail_to_print() -> None:
    """Let characters that the terminal's encoding lacks come out escaped, rather than end the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def hush_libraries() -> None:
    """Keep the libraries' own bars and hints off stderr, where our progress is; their warnings stay.

    To be called before they are imported. ``datasets`` is not imported for it: commands that only predict do without,
    and it takes a second.
    """
    # Threads that wait by spinning take the cores from whoever else works there: on two busy cores a training
    # step took 0.50 s with them and 0.066 s without; on idle ones 0.042 s and 0.046 to 0.061 s. OMP_WAIT_POLICY=ACTIVE
    # in the environment is left as it is.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import transformers

    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
