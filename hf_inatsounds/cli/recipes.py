"""The recipes that come with the package: list them, or copy one to change it.

Examples:
  hf-inatsounds recipes
  hf-inatsounds recipes --copy resnet-18.yaml
  hf-inatsounds recipes --copy resnet-18.yaml --out mine.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.output import show
from hf_inatsounds.errors import ArgumentsError
from hf_inatsounds.files import write_text
from hf_inatsounds.runtime.installing import recipe_path, scripts_folder, shipped_recipes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--copy", type=given.name, metavar="NAME", help="copy this recipe")
    parser.add_argument("--out", type=given.output_file, help="the copy (default: a file of its name, here)")


def run(arguments: argparse.Namespace) -> None:
    """List the recipes, or copy one."""
    if arguments.copy:
        _copy(arguments.copy, arguments.out, arguments.json)
        return
    found = {name: _summary(path) for name, path in shipped_recipes().items()}
    width = max(map(len, found), default=0)
    folder = scripts_folder()
    lines = [*(f"{name.ljust(width)}  {said}" for name, said in found.items()), "", f"scripts: {folder}"]
    show({"recipes": found, "folder": str(folder)}, "\n".join(lines), as_json=arguments.json)


def _copy(name: str, out: str | None, as_json: bool) -> None:
    source = recipe_path(name)
    to = Path(out or source.name)
    if to.exists():
        raise ArgumentsError("the file is there already", where=to, fix="Choose another name (--out), or delete it.")
    write_text(to, source.read_text(encoding="utf-8"))
    show({"recipe": source.name, "out": str(to)}, f"{to}: a copy of {source.name}", as_json=as_json)


def _summary(path: Path) -> str:
    """The first sentence of a recipe's comment."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.lstrip("# ").strip()
