"""In which precision a run computes: the recipe says, and no launcher says otherwise unseen."""

from __future__ import annotations

import os

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.training.recipe import Recipe


def precision_name(recipe: Recipe) -> str:
    """What a recipe computes forward passes in."""
    return "bfloat16" if recipe.training.bf16 else "float16" if recipe.training.fp16 else "float32"


def check_precision(recipe: Recipe) -> None:
    """The recipe decides on precision; accelerate's own setting may agree or be silent.

    Raises:
        RecipeError: if accelerate's config or command line asks for another one.
    """
    launcher = os.environ.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    own = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}[precision_name(recipe)]
    if launcher not in ("no", own):
        key = launcher if launcher in ("bf16", "fp16") else "bf16"
        raise RecipeError(
            "accelerate and the recipe ask for different precisions", where="mixed_precision", found=launcher,
            expected=f"{own}, as the recipe's bf16 and fp16 say",
            fix=f"Give --{key} true, or set mixed_precision: 'no' in accelerate's config: the recipe decides.",
        )  # fmt: skip
