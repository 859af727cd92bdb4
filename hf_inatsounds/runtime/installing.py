"""What is installed with which extra, and where the shipped recipes and scripts are."""

from __future__ import annotations

import difflib
from pathlib import Path

from hf_inatsounds.errors import RecipeError

INSTALL = "pip install '.[models]'"
"""The line that cards and docs name; run in a checkout, until there is a release."""
MODEL_PACKAGES = frozenset({
    "accelerate", "audiomentations", "evaluate", "matplotlib", "safetensors", "scipy", "sklearn", "torch",
    "transformers",
})  # fmt: skip
"""Packages of the extra ``models``, by the names that they are imported by."""


class ModelsMissing(ImportError):
    """Something of the extra ``models`` is not installed."""


def models_missing(what: str, error: ModuleNotFoundError) -> ModelsMissing | None:
    """What a failed import means to a user.

    Args:
        what: that was asked for: a command or a function.
        error: of the import.

    Returns:
        An error that names the extra; None where another package is missing.

    >>> print(models_missing("train", ModuleNotFoundError(name="torch")))
    train needs torch, which is not installed: pip install 'hf-inatsounds[models]'
    """
    package = (error.name or "").partition(".")[0]
    if package not in MODEL_PACKAGES:
        return None
    return ModelsMissing(f"{what} needs {package}, which is not installed: pip install 'hf-inatsounds[models]'")


def scripts_folder() -> Path:
    """The folder of recipes, accelerate configs and launch scripts: ``train`` of a checkout, or the wheel's copy."""
    package = Path(__file__).parents[1]
    checkout = package.parent / "train"
    return checkout if (checkout / "recipes").is_dir() else package / "scripts"


def shipped_recipes() -> dict[str, Path]:
    """Name → file of every shipped recipe.

    >>> "ast-tiny.yaml" in shipped_recipes()
    True
    """
    return {path.name: path for path in sorted((scripts_folder() / "recipes").glob("*.yaml"))}


def recipe_path(text: str | Path) -> Path:
    """A recipe's file: the one that is named, or else the shipped one of that name.

    Args:
        text: a path, or a shipped recipe's name, with or without ``.yaml``, alone or below ``train/recipes``.

    Returns:
        An existing file, or ``text`` where it has the form of a path.

    Raises:
        RecipeError: a bare name that is neither; the nearest shipped one is named.
    """
    path = Path(text)
    shipped = shipped_recipes()
    is_name = path.parent in (Path(), Path("train/recipes"))
    name = path.name if path.suffix else f"{path.name}.yaml"
    if path.exists() or not is_name:
        return path
    if name in shipped:
        return shipped[name]
    near = difflib.get_close_matches(name, shipped, n=1)
    raise RecipeError(
        "cannot read the recipe", where=text, found="No such file, and no shipped recipe of that name",
        expected=f"{near[0]!r}?" if near else f"a file, or one of {', '.join(shipped)}",
    )  # fmt: skip
