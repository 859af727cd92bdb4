"""Several recipes one after the other in each of the processes that a launcher started: torch is loaded once."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.run import train


def main(path: str) -> int:
    """Train each recipe of a JSON list."""
    for values in json.loads(Path(path).read_text(encoding="utf-8")):
        print(values["output_dir"], file=sys.stderr, flush=True)  # above the traceback of the one that fails
        train(make_recipe(values, where=values["output_dir"]), quiet=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
