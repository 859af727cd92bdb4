"""Score a split by the paper's protocol: file-level scores, results.json and a table.

Examples:
  hf-inatsounds evaluate runs/ast --source path/to/archives --split test
  hf-inatsounds evaluate runs/ast --source path/to/archives --split validation --stride 0.5 --json
  hf-inatsounds evaluate runs/ast --source path/to/archives --split test --geo-prior prior.safetensors
  accelerate launch --config_file train/accelerate/one-machine.yaml train/evaluation.py runs/ast --source path
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import add_checkpoint_flags, checkpoint_flags
from hf_inatsounds.cli.device import add_device
from hf_inatsounds.cli.output import hush_libraries, note, show
from hf_inatsounds.runtime.ranges import Range
from hf_inatsounds.schema import SPLITS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("model", type=given.name, help="run folder, checkpoint or Hub model id")
    add_checkpoint_flags(parser)
    parser.add_argument(
        "--source", type=given.name, default="official", help="archives: a folder or a base URL (default: official)"
    )
    parser.add_argument(
        "--index", type=given.name, help="folder or base URL of the archives' seek indexes (default: none)"
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="(default: test)")
    given.add_selection(parser)
    parser.add_argument(
        "--out",
        type=given.output_folder,
        help="folder of the results (default: MODEL/evaluation-SPLIT; here for a Hub model)",
    )
    parser.add_argument("--window", type=given.window_s, help="window in seconds (default: the checkpoint's)")
    parser.add_argument("--stride", type=given.stride_s, help="stride in seconds (default: the checkpoint's)")
    parser.add_argument(
        "--batch-size", type=given.batch_size, default=32, help="windows per forward pass (default: 32)"
    )
    parser.add_argument("--processes", type=given.processes, default=1, help="that score side by side (default: 1)")
    parser.add_argument(
        "--classes", default="present", choices=("present", "evaluated", "all"),
        help="that take part in the softmax and are kept (default: present, the authors' protocol)",
    )  # fmt: skip
    parser.add_argument(
        "--geo-prior",
        type=given.name,
        help="range prior to report with and without: a fitted one, or a SINR checkpoint",
    )
    parser.add_argument(
        "--geo-mode",
        choices=("mask", "soft"),
        help="how it is combined (default: mask for SINR, soft for a fitted one)",
    )
    parser.add_argument("--geo-threshold", type=given.number(Range(0, 1, open_high=True)), default=0.1,
                        help="presence that a mask asks for (default: 0.1)")  # fmt: skip
    parser.add_argument("--geo-weight", type=given.number(Range(0, 100, open_high=True)), default=1.0,
                        help="exponent of the soft combination (default: 1)")  # fmt: skip
    parser.add_argument(
        "--resamples", type=given.resamples, default=200, help="of the bootstrap intervals (default: 200)"
    )
    parser.add_argument("--seed", type=given.seed, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument("--rescore", action="store_true", help="score again where the folder holds the same scores")
    parser.add_argument("--no-report", action="store_true", help="no report.html and plots")
    add_device(parser)


def run(arguments: argparse.Namespace) -> None:
    """Evaluate, write the report, and print the table."""
    hush_libraries()
    from hf_inatsounds.evaluation import GeoChoice, default_out, evaluate_model
    from hf_inatsounds.reports import results_text, write_report
    from hf_inatsounds.scoring import FileScores

    geo = None
    if arguments.geo_prior is not None:
        geo = GeoChoice(arguments.geo_prior, arguments.geo_mode, arguments.geo_threshold, arguments.geo_weight)
    out = Path(arguments.out) if arguments.out else default_out(arguments.model, arguments.split)
    results = evaluate_model(
        arguments.model,
        arguments.source,
        arguments.split,
        name=arguments.name,
        index=arguments.index,
        select=arguments.select,
        out=out,
        window_s=arguments.window,
        stride_s=arguments.stride,
        batch_size=arguments.batch_size,
        classes=arguments.classes,
        processes=arguments.processes,
        geo=geo,
        resamples=arguments.resamples,
        seed=arguments.seed,
        rescore=arguments.rescore,
        **checkpoint_flags(arguments),
        device=arguments.device,
        dtype=arguments.dtype,
        quiet=arguments.quiet,
    )
    if not results:  # the main process has them
        return
    made = "scores.parquet, windows.parquet, results.json"
    if not arguments.no_report:
        write_report(out, results, FileScores.load(out, ["mean"]))
        made += ", report.html"
    show(results, results_text(results), as_json=arguments.json)
    beside = out.resolve().parent == Path(arguments.model).resolve()  # where card looks
    following = f"\nnext: hf-inatsounds card {arguments.model}" if beside else ""
    note(f"\nwrote {out}/{made}{following}", quiet=arguments.quiet)
