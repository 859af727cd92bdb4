"""One place for what commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from hf_inatsounds.files import defined


def show(value: Any, text: str, *, as_json: bool) -> None:
    """Print ``value`` as one JSON document, undefined numbers as null, or ``text`` for a person."""
    print(json.dumps(defined(value), ensure_ascii=False, allow_nan=False) if as_json else text, flush=True)


def note(line: str, *, quiet: bool = False) -> None:
    """A line on stderr for a person who watches."""
    if not quiet:
        print(line, file=sys.stderr, flush=True)


def hush_libraries() -> None:
    """Keep the libraries' own bars and hints off stderr, where our progress is; their warnings stay.

    To be called before they are imported.
    """
    # Threads that wait by spinning take the cores from whoever else works there: on two busy cores a training
    # step took .50 s with them and .066 s without; on idle ones .042 s and .046 to .061 s. OMP_WAIT_POLICY=ACTIVE
    # in the environment is left as it is.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import datasets
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
