"""Score a split by the paper's protocol: file-level scores, results.json and a table.

Examples:
  hf-inatsounds evaluate runs/ast --source path/to/archives --split test
  hf-inatsounds evaluate runs/ast --source path/to/archives --split validation --stride 0.5 --json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_inatsounds.cli.output import hush_libraries, note, show
from hf_inatsounds.schema import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("model", help="run folder or checkpoint")
    parser.add_argument("--source", default="official", help="archives: a folder or a base URL (default: official)")
    parser.add_argument("--index", default="", help="folder or base URL of the archives' seek indexes (default: none)")
    parser.add_argument("--split", default="test", help=f"one of {', '.join(SPLITS)} (default: test)")
    parser.add_argument("--name", default="all", help="all, a supercategory, or evaluation (default: all)")
    parser.add_argument("--out", help="folder of the results (default: MODEL/evaluation-SPLIT)")
    parser.add_argument("--window", type=float, help="window in seconds (default: the checkpoint's)")
    parser.add_argument("--stride", type=float, help="stride in seconds (default: the checkpoint's)")
    parser.add_argument("--batch-size", type=int, default=32, help="windows a forward pass (default: 32)")


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, and print the table."""
    hush_libraries()
    from hf_inatsounds.evaluation import evaluate, split_info
    from hf_inatsounds.models import load_classifier
    from hf_inatsounds.reports import results_text
    from hf_inatsounds.windows import chosen_window

    info = split_info(arguments.source, arguments.name, arguments.split, arguments.index)
    classifier = load_classifier(arguments.model)
    window = chosen_window(classifier.window, arguments.window, arguments.stride)
    out = Path(arguments.out or Path(arguments.model) / f"evaluation-{arguments.split}")
    results = evaluate(
        classifier,
        info,
        out,
        window=window,
        checkpoint=arguments.model,
        batch_size=arguments.batch_size,
        quiet=arguments.quiet,
    )
    show(results, results_text(results), as_json=arguments.json)
    note(f"\nwrote {out}/scores.parquet, windows.parquet, results.json\nnext: hf-inatsounds card {arguments.model}",
         quiet=arguments.quiet)  # fmt: skip
