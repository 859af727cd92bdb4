"""``hf-inatsounds``: parse, run, and turn a user's mistake into one line and an exit code."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence

from hf_inatsounds import __version__
from hf_inatsounds.cli.arguments import OneLineParser
from hf_inatsounds.cli.output import never_fail_to_print
from hf_inatsounds.errors import EndedElsewhere, InatSoundsError, printable
from hf_inatsounds.runtime.installing import models_missing
from hf_inatsounds.runtime.launching import beside, end_with_launcher, is_first_to_tell, leave

COMMANDS = {
    "quickstart": "the main job on an embedded archive: stream, fine-tune, evaluate, card, predict",
    "annotations": "counts, hours and licences by supercategory",
    "verify": "checksums, every member read, defects listed",
    "publish": "a mirror that plain datasets reads, in a folder or on the Hub",
    "export": "a part of the dataset as a folder of files, for other tools",
    "index": "build the seek index of the archives",
    "train": "fine-tune by a recipe",
    "recipes": "list the shipped recipes, or copy one",
    "evaluate": "score a split by the paper's protocol",
    "benchmark": "judge a model on a downstream suite: zero-shot, probes, fine-tuning",
    "compare": "runs side by side, with intervals of their differences",
    "geo-prior": "fit a range prior from the places of recordings",
    "push": "push a finished run to the Hub, with its card",
    "card": "render the model card from results.json",
    "predict": "species in recordings of any length",
    "embed": "embeddings of recordings, window by window, as Parquet",
}


def parser() -> argparse.ArgumentParser:
    """The whole command line's parser."""
    top = OneLineParser(
        prog="hf-inatsounds",
        description="The iNaturalist Sounds Dataset for Hugging Face: stream, fine-tune, evaluate, predict.",
        epilog="Exit codes: 0 done, 1 failed with a one-line reason on stderr, 2 wrong arguments, 130 interrupted, "
        "143 told to end (SIGTERM).",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"hf_inatsounds.cli.{name.replace('-', '_')}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_argument("--json", action="store_true", help="print one JSON document on stdout")
        command.add_argument("--quiet", action="store_true", help="no progress on stderr")
        module.add_arguments(command)
        command.set_defaults(run=module.run, refuse=command.error)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code.

    Raises:
        SystemExit: with 2, for wrong arguments.
    """
    end_with_launcher()
    never_fail_to_print()  # the parser too prints what was given
    arguments, unknown = parser().parse_known_args(argv)
    if unknown:
        arguments.refuse(f"unrecognized arguments: {' '.join(unknown)}")
    return run_command(arguments.command, lambda: arguments.run(arguments))


def run_command(name: str, act: Callable[[], int | None]) -> int:
    """Do a command's work; a user's mistake becomes one line on stderr.

    Args:
        name: of the command, as the line names it.
        act: does the work; returns the exit code, None for 0.

    Returns:
        The exit code.
    """
    never_fail_to_print()
    code = _run(name, act)
    leave(code)
    return code


def _run(name: str, act: Callable[[], int | None]) -> int:
    try:
        return int(act() or 0)
    except EndedElsewhere:
        return 1
    except ModuleNotFoundError as error:
        missing = models_missing(name, error)
        if missing is None:
            raise
        if is_first_to_tell():
            print(f"hf-inatsounds {name}: {missing}", file=sys.stderr)
        return 1
    except InatSoundsError as error:
        if is_first_to_tell():
            print(f"hf-inatsounds {name}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # somebody reads no further: | head
        sys.stderr.close()
        return 0
    except UnicodeEncodeError as error:  # by Arrow or safetensors, which open no such path
        if error.reason != "surrogates not allowed":
            raise
        told = InatSoundsError("a path that is not UTF-8", found=error.object, fix="Rename it, or link to it.")
        print(f"hf-inatsounds {name}: {told}", file=sys.stderr)
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        if is_first_to_tell():
            print(f"hf-inatsounds {name}: {printable(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if not beside():  # a launcher says so itself
            print(f"hf-inatsounds {name}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
