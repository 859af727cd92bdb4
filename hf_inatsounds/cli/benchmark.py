"""Judge a model on a downstream suite: zero-shot, probes on its embeddings, or fine-tuning.

Examples:
  hf-inatsounds benchmark runs/ast --suite esc10 --data path/to/esc10
  hf-inatsounds benchmark runs/ast --suite esc10 --data path/to/esc10 --random-init 0
  hf-inatsounds benchmark runs/ast --suite birdset --data path/to/birdset --subset HSN --protocol zero-shot \\
      --names ebird_taxonomy.csv
  hf-inatsounds benchmark runs/ast --suite birb --data path/to/birb --protocol few-shot --shots 1,2,4,8,16
  hf-inatsounds benchmark ast-tiny --suite esc10 --data path/to/esc10 --protocol fine-tune --recipe recipe.yaml
"""

from __future__ import annotations

import argparse

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import add_checkpoint_flags, checkpoint_flags
from hf_inatsounds.cli.device import add_device
from hf_inatsounds.cli.odd_ones import OddOnes
from hf_inatsounds.cli.output import hush_libraries, note, show
from hf_inatsounds.downstream.names import PROTOCOLS, SUITES
from hf_inatsounds.runtime.ranges import Range

SHOTS = given.whole_numbers(Range(1, 10_000))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "model", type=given.name, help="run folder, checkpoint, Hub model id; for fine-tune a preset too"
    )
    add_checkpoint_flags(parser)
    parser.add_argument("--suite", required=True, choices=SUITES, help="docs/benchmarks-downstream.md has the layouts")
    parser.add_argument("--data", type=given.name, required=True, help="the suite's folder")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="(default: linear-probe; few-shot for birb)")
    parser.add_argument(
        "--subset", type=given.name, action="append", default=[], help="one data set of the suite; repeatable"
    )
    parser.add_argument(
        "--out",
        type=given.output_folder,
        help="folder of the results (default: in the run folder, or here for a Hub model)",
    )
    parser.add_argument("--random-init", type=given.seed, metavar="SEED", help="same architecture, random weights")
    parser.add_argument(
        "--shots", type=SHOTS, default="1,2,4,8,16", help="exemplars per class, few-shot (default: 1,2,4,8,16)"
    )
    parser.add_argument(
        "--seeds", type=given.whole_number(Range(1, 1_000)), default=5, help="draws of exemplars, few-shot (default: 5)"
    )
    parser.add_argument("--seed", type=given.seed, default=0, help="of everything else that is drawn (default: 0)")
    parser.add_argument(
        "--names", type=given.name, metavar="CSV", help="codes and scientific names, zero-shot (eBird's taxonomy, say)"
    )
    parser.add_argument("--synonyms", type=given.name, metavar="CSV", help="columns name and accepted, zero-shot")
    parser.add_argument("--recipe", type=given.name, help="recipe of fine-tune (default: a short one)")
    parser.add_argument("--window", type=given.window_s, help="window in seconds (default: the checkpoint's)")
    parser.add_argument("--stride", type=given.stride_s, help="stride in seconds (default: the checkpoint's)")
    parser.add_argument(
        "--bootstrap",
        type=given.whole_number(Range(0, 10_000)),
        default=200,
        help="draws of the intervals, 0 for none (default: 200)",
    )
    parser.add_argument(
        "--cache", type=given.output_folder, help="folder of cached embeddings (default: in the user's cache)"
    )
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark, and print its table; what was left out is named, and the exit code is 1."""
    hush_libraries()
    from hf_inatsounds.downstream.benchmark import benchmark_model, default_out
    from hf_inatsounds.downstream.tables import benchmark_text

    protocol = arguments.protocol or ("few-shot" if arguments.suite == "birb" else "linear-probe")
    out = arguments.out or default_out(arguments.model, arguments.suite, protocol, arguments.random_init)
    odd = OddOnes("benchmark")
    results = benchmark_model(
        arguments.model,
        arguments.suite,
        arguments.data,
        subset=arguments.subset,
        out=out,
        quiet=arguments.quiet,
        protocol=protocol,
        random_init=arguments.random_init,
        shots=arguments.shots,
        seeds=arguments.seeds,
        seed=arguments.seed,
        codes=arguments.names,
        synonyms=arguments.synonyms,
        recipe=arguments.recipe,
        window_s=arguments.window,
        stride_s=arguments.stride,
        bootstrap=arguments.bootstrap,
        cache=arguments.cache,
        **checkpoint_flags(arguments),
        device=arguments.device,
        dtype=arguments.dtype,
    )
    for name, reason in results["left_out"].items():
        odd.add(name, reason)
    show(results, benchmark_text(results), as_json=arguments.json)
    note(f"\nwrote {out}/results.json", quiet=arguments.quiet)
    return odd.exit_code()
