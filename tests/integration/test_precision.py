"""One precision for a run, its validations and an evaluation that asks for it; and who decides which."""

import json

import numpy as np
import pytest

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.evaluation import evaluate, split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.training.learning import check_precision
from hf_inatsounds.training.run import train
from tests.helpers.training import small_recipe


@pytest.mark.parametrize(
    ("launcher", "keys"),
    [(None, {}), ("no", {"bf16": True}), ("bf16", {"bf16": True}), ("fp16", {"fp16": True}), ("no", {})],
)
def test_the_recipe_decides_where_accelerate_agrees_or_is_silent(tmp_path, monkeypatch, launcher, keys):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launcher:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    check_precision(small_recipe(tmp_path, tmp_path, **keys))


@pytest.mark.parametrize(("launcher", "keys"), [("bf16", {}), ("fp16", {"bf16": True}), ("fp8", {"bf16": True})])
def test_another_precision_of_accelerates_is_refused_before_anything_is_read(tmp_path, monkeypatch, launcher, keys):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    with pytest.raises(RecipeError, match=f"different precisions: mixed_precision: found {launcher}; expected"):
        train(small_recipe(tmp_path / "nowhere", tmp_path / "run", **keys), quiet=True)


def test_a_bfloat16_run_reports_what_evaluate_measures_in_bfloat16(tiny, tmp_path):
    out = tmp_path / "run"
    run = train(small_recipe(tiny, out, num_train_epochs=2, bf16=True, validation_split="validation"), quiet=True)
    assert run["validation"]["dtype"] == "bfloat16"
    info = split_info(str(tiny), "all", "validation")
    found, logits = {}, {}
    for dtype in ("bfloat16", "float32"):
        classifier = load_classifier(out, device="cpu", dtype=dtype)
        folder = tmp_path / dtype
        options = {"window": classifier.window, "checkpoint": str(out), "quiet": True}
        results = evaluate(classifier, info, folder, **options)
        assert results["computed"] == {"device": "cpu", "dtype": dtype}
        assert json.loads((folder / "scores.json").read_text())["dtype"] == dtype
        found[dtype] = results["metrics"]["mean"]
        logits[dtype] = classifier.logits([np.random.default_rng(0).standard_normal(16_000).astype(np.float32)])
    for name in ("map", "roc_auc", "f1_max"):
        assert run["final"][name] == pytest.approx(found["bfloat16"][name], abs=1e-6)
    assert 0 < np.abs(logits["bfloat16"] - logits["float32"]).max() < 0.1  # computed differently, and not worlds apart
