"""Fine-tune by a recipe; every key of the recipe is a flag too, and flags win.

Examples:
  hf-inatsounds train ast-tiny.yaml --source path/to/archives --output_dir runs/ast
  hf-inatsounds train ast-tiny.yaml --source path/to/archives --dry-run
  hf-inatsounds train resnet-tiny.yaml --feature_extractor.variant raw --output_dir runs/resnet
  hf-inatsounds train ast-tiny.yaml --objective multilabel --label_smoothing_factor 0 --output_dir runs/ast-multilabel
  hf-inatsounds train contrastive-tiny.yaml --source path/to/archives --output_dir runs/encoder
  hf-inatsounds train ast-tiny.yaml --source path/to/archives --model runs/encoder --output_dir runs/tuned
  hf-inatsounds train ast.yaml --source path/to/archives --name aves --output_dir runs/aves --resume auto
  hf-inatsounds train ast.yaml --source path/to/archives --push_to_hub --hub_model_id me/ast-inatsounds
  hf-inatsounds train ast-tiny.yaml --source path/to/archives --output_dir runs/two --processes 2
  accelerate launch --config_file train/accelerate/two-cpu-processes.yaml train/finetune.py \\
      train/recipes/ast-tiny.yaml --source path/to/archives --output_dir runs/two
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_inatsounds.archives.fetch import public_place
from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import hush_libraries, show
from hf_inatsounds.errors import FlagError
from hf_inatsounds.runtime.launching import beside, run_processes
from hf_inatsounds.training.key_table import help_text, is_switch

if TYPE_CHECKING:
    from hf_inatsounds.training.ownership import Resume
    from hf_inatsounds.training.recipe import Recipe

ADVICE = """\
From random weights on little data take efficientnet-tiny.yaml or resnet-tiny.yaml: on 90 recordings of animals that had
been held back their mAP was 0.956 and 0.922 (ast-tiny 0.746; a random forest on MFCC statistics 0.901). ast-tiny.yaml
is a quick try of what ast.yaml does with pre-trained weights."""

_FLAGS = ("json", "quiet", "resume", "dry-run", "help")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments; in the help also all keys of a recipe."""
    parser.epilog = f"{ADVICE}\n\nKeys, with their defaults (docs/recipes.md says more):\n\n{help_text()}"
    parser.add_argument("recipe", type=given.name, help="YAML file; train/recipes has some")
    parser.add_argument(
        "--resume", action="store_true",
        help="go on from the run folder's last checkpoint; --resume auto begins where there is none",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="print what the run would do; nothing is written")
    parser.add_argument(
        "keys",
        nargs=argparse.REMAINDER,
        metavar="--KEY VALUE",
        help="keys of the recipe, below; --config.hidden_size 64 changes one value within a key; "
        "--processes N trains in N processes of this machine, each on a GPU of its own where there are some",
    )


@dataclass(frozen=True)
class Options:
    """What a run is told beside its recipe.

    Attributes:
        resume: go on from the run folder's last checkpoint; "auto" does where there is one.
        json: print one JSON document.
        quiet: no progress.
        dry_run: print what the run would do.
        processes: processes of this machine that train together.
        words: the words after the recipe, without ``--processes N``.
    """

    resume: Resume
    json: bool
    quiet: bool
    dry_run: bool
    processes: int
    words: tuple[str, ...]


def parse_words(words: Sequence[str]) -> tuple[Recipe, Options]:
    """A recipe and options of the words behind a script's name, as ``hf-inatsounds train`` takes them.

    Raises:
        RecipeError: as ``read_recipe``.
        SystemExit: with 2, for wrong arguments.
    """
    from hf_inatsounds.cli.main import parser

    _, recipe, options = _read(parser().parse_args(["train", *words]))
    if options.dry_run or options.processes > 1:
        raise FlagError("not a flag of this script", found="--dry-run or --processes", expected="hf-inatsounds train")
    return recipe, options


def _read(arguments: argparse.Namespace) -> tuple[str, Recipe, Options]:
    """The recipe's name, the recipe and the options."""
    hush_libraries()  # before what follows imports them
    from hf_inatsounds.training.arguments import read_recipe

    words, auto = arguments.keys, False
    if arguments.resume and arguments.recipe == "auto" and words and not words[0].startswith("-"):
        arguments.recipe, words, auto = words[0], words[1:], True  # --resume auto RECIPE.yaml
    count, words = split_processes(words)
    flags, keys = split_flags(words)
    if "help" in flags:  # behind the recipe argparse does not see it
        from hf_inatsounds.cli.main import main

        main(["train", "--help"])
    auto = auto or "resume-auto" in flags
    options = Options(
        resume="auto" if auto else arguments.resume or "resume" in flags,
        json=arguments.json or "json" in flags,
        quiet=arguments.quiet or "quiet" in flags,
        dry_run=arguments.dry_run or "dry-run" in flags,
        processes=count,
        words=tuple(words),
    )
    return arguments.recipe, read_recipe(arguments.recipe, keys), options


def run(arguments: argparse.Namespace) -> int:
    """Train, and print where the run is."""
    name, recipe, options = _read(arguments)
    if recipe.training.push_to_hub:
        from hf_inatsounds.publishing.finished_run import open_for

        open_for(recipe, create=not options.dry_run)
    if options.dry_run:
        _dry_run(recipe, options.resume, options.json)
        return 0
    if options.processes > 1:
        return run_processes(_command(arguments, name, options), options.processes)
    from hf_inatsounds.training.run import train

    found = train(recipe, resume=options.resume, quiet=options.quiet)
    if found["main_process"]:
        show_run(recipe, found, as_json=options.json, quiet=options.quiet)
    return 0


def show_run(recipe: Recipe, found: dict[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Push a finished run, where its recipe says so, and print what it reached.

    Args:
        recipe: of the run.
        found: what ``train`` returned.
        as_json: one JSON document in place of lines.
        quiet: no progress.
    """
    from hf_inatsounds.reports import setting_text, summarise
    from hf_inatsounds.training.course import shown

    out = recipe.training.output_dir
    best, final = found["best"], found["final"]
    reached = "no validation"
    if best:
        reached = f"best validation {recipe.validated_by} {shown(best['map'])} after epoch {best['epoch']:g}"
        reached += f" on the {setting_text(found['validation'])}"
    elif found["history"]:
        reached = f"validation {recipe.validated_by} undefined, the last weights kept"
    if final and found["final_validation"] != found["validation"]:
        reached += f"; of the saved weights {shown(final['map'])} on the {setting_text(found['final_validation'])}"
    split = recipe.data.validation_split if recipe.is_validated else "test"
    source = public_place(recipe.data.source)
    following = f"evaluate {out} --source {source} --split {split}"
    if recipe.objective.objective == "contrastive":
        following = f"train RECIPE.yaml --model {out} --source {source} --output_dir FINE_TUNED"
    lines = [
        f"{out}: {reached}; {found['steps']} steps in {found['seconds']:.0f} s",
        f"recordings: {summarise(found['defects'])} (named in {recipe.out / 'report.md'})",
        f"next: hf-inatsounds {following}",
    ]
    if recipe.training.push_to_hub:
        from hf_inatsounds.publishing.finished_run import push_finished

        found["pushed"] = push_finished(recipe, quiet=quiet)
        lines[-1] = f"pushed: {found['pushed']}"
    show({"output_dir": out, **found}, "\n".join(lines), as_json=as_json)


def _dry_run(recipe: Recipe, resume: Resume, as_json: bool) -> None:
    from hf_inatsounds.training.arguments import recipe_yaml
    from hf_inatsounds.training.dry_run import dry_run

    found = dry_run(recipe, resume=resume)
    space, shapes = found["label_space"], found["first_batch"]
    lines = [
        recipe_yaml(recipe),
        f"model: {found['architecture']}, {found['parameters']:,} parameters "
        f"({found['trainable_parameters']:,} of them trained), {found['weights_bytes'] / 1e6:.1f} MB of weights",
        *([f"from the checkpoint: {found['start']['told']}"] if found["start"] else []),
        f"label space: {space['classes']:,} classes, {space['with_training_recordings']:,} of them in the "
        f"{recipe.data.train_split} split, {space['evaluated']:,} evaluated, {space['validated']:,} validated",
        f"steps: {found['steps']:,} of {found['examples_a_step']} recordings, {found['steps_an_epoch']:,} per epoch of "
        f"{found['recordings']:,} recordings ({found['hours']:.2f} h)",
        "first batch: " + ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items()),
    ]
    show(found, "\n".join(lines), as_json=as_json)


def split_processes(words: list[str]) -> tuple[int, list[str]]:
    """How many processes are asked for, and the other words.

    >>> split_processes(["--num_train_epochs", "3", "--processes", "2"])
    (2, ['--num_train_epochs', '3'])

    Raises:
        FlagError: no number of at least 1, more than a machine can do with, or another launcher has started processes.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--processes", nargs="?", default="1", const="")
    found, others = parser.parse_known_args(words)
    try:
        count = given.processes(found.processes)
    except argparse.ArgumentTypeError as error:
        expected = f"a whole number, {given.PROCESSES}"
        raise FlagError("bad value", where="--processes", found=repr(found.processes), expected=expected) from error
    if count > 1 and beside():
        raise FlagError("bad value", where="--processes", expected="1 where accelerate or torchrun starts processes")
    return count, others


def _command(arguments: argparse.Namespace, recipe: str, options: Options) -> list[str]:
    """The command line of each of several processes; what stood before the recipe stays there."""
    flags = [f"--{name}" for name in ("json", "quiet") if getattr(arguments, name)]
    resume = ["--resume"] if arguments.resume and options.resume is True else []
    resume = ["--resume", "auto"] if arguments.resume and options.resume == "auto" else resume
    return ["train", *flags, recipe, *resume, *options.words]


def split_flags(words: list[str]) -> tuple[set[str], dict[str, Any]]:
    """Flags without a value (json, quiet, resume …) and recipe keys with one; of equal ones the last counts.

    ``--resume auto`` is the flag "resume-auto".

    >>> split_flags(["--num_train_epochs", "3", "--json", "--config.hidden_size=64"])
    ({'json'}, {'num_train_epochs': '3', 'config': {'hidden_size': 64}})

    Raises:
        FlagError: a word that is no flag, a key without a value, or one that is given whole and in part.
    """
    flags: set[str] = set()
    keys: dict[str, Any] = {}
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if not word.startswith("--") or not word.strip("-"):
            raise FlagError("not a flag", where="command line", found=repr(word), expected="--key value")
        key, given, value = word[2:].partition("=")
        if key == "resume" and ([value] if given else waiting[:1]) == ["auto"]:
            waiting = waiting if given else waiting[1:]
            flags.add("resume-auto")
            continue
        if key in _FLAGS and not given:
            flags.add(key)
            continue
        if not given:
            if waiting and not waiting[0].startswith("--"):
                value = waiting.pop(0)
            elif is_switch(key.replace("-", "_")):
                value = "true"  # --bf16 alone, as transformers' scripts have it
            else:
                raise FlagError("no value", where=f"--{key}", expected=f"--{key} VALUE")
        path = key.replace("-", "_").split(".")
        if path == ["select"] and (pair := re.match(r"\s*(\w+)=", value)):  # --select family=Ranidae, as elsewhere
            path, value = ["select", pair[1]], value[pair.end() :]
        _put(keys, path, value)
    return flags, keys


def _put(keys: dict[str, Any], path: list[str], value: str) -> None:
    """A flag's value where its dots say; within a mapping values are YAML, and whole keys stay texts."""
    from hf_inatsounds.training.recipe import from_yaml

    flag = f"--{'.'.join(path)}"
    if not all(path):
        raise FlagError("no name", where=flag, expected="--key or --key.inner")
    *outer, last = path
    for name in outer:
        keys = keys.setdefault(name, {})
        if not isinstance(keys, dict):
            raise FlagError("given whole and in part", where=flag, fix="Give one flag for all of it, or one for each.")
    if isinstance(keys.get(last), dict):
        raise FlagError("given whole and in part", where=flag, fix="Give one flag for all of it, or one for each.")
    try:
        keys[last] = from_yaml(value) if outer else value
    except ValueError as error:
        raise FlagError("not YAML", where=flag, found=error) from error
