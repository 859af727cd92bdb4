"""The recipes that come with the package: list them, or copy one to change it.

Examples:
  hf-inatsounds recipes
  hf-inatsounds recipes --copy resnet-18.yaml
  hf-inatsounds recipes --copy resnet-18.yaml mine.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_inatsounds.cli.output import show
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.files import write_text
from hf_inatsounds.runtime.installing import recipe_path, scripts_folder, shipped_recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--copy", nargs="+", metavar=("NAME", "TO"), help="copy a recipe, here or to TO")


def run(arguments: argparse.Namespace) -> None:
    """List the recipes, or copy one."""
    if arguments.copy:
        _copy(arguments.copy, arguments.json)
        return
    found = {name: _summary(path) for name, path in shipped_recipes().items()}
    width = max(map(len, found), default=0)
    folder = scripts_folder()
    lines = [*(f"{name.ljust(width)}  {said}" for name, said in found.items()), "", f"scripts: {folder}"]
    show({"recipes": found, "folder": str(folder)}, "\n".join(lines), as_json=arguments.json)


def _copy(words: list[str], as_json: bool) -> None:
    if len(words) > 2:
        raise ArgumentsError("too many words", where="--copy", found=" ".join(words), expected="NAME, or NAME TO")
    source = recipe_path(words[0])
    to = Path(words[1] if len(words) == 2 else source.name)
    to = to / source.name if to.is_dir() else to
    if to.exists():
        raise ArgumentsError("the file is there already", where=to, fix="Choose another name, or delete it.")
    write_text(to, source.read_text(encoding="utf-8"))
    show({"recipe": source.name, "to": str(to)}, f"{to}: a copy of {source.name}", as_json=as_json)


def _summary(path: Path) -> str:
    """The first sentence of a recipe's comment."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()
