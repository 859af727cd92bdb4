"""Every recipe of train/recipes/ from its own Hub id, in one process or in as many as torchrun starts.

    python -m tests.helpers.recipe_runs JOB.json
    torchrun --standalone --nproc_per_node 2 -m tests.helpers.recipe_runs JOB.json

The job names recipes, a source and a folder. OUT/NAME.begun says that a recipe was begun, OUT/NAME.json what came of
it, OUT/NAME.failed-RANK what went wrong. OUT/NAME is the run. One process trains, is cut off and resumes, evaluates and
pushes. Several train, are cut off and resume.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from hf_inatsounds.audio import read_window
from hf_inatsounds.cli.main import main as command
from hf_inatsounds.evaluation import split_info
from hf_inatsounds.models.classifier import load_classifier
from hf_inatsounds.publishing.model_hub import push_model
from hf_inatsounds.training import records
from hf_inatsounds.training.arguments import read_recipe
from hf_inatsounds.training.recipe import Recipe
from hf_inatsounds.training.run import train
from hf_inatsounds.training.trainer import CropTrainer

# What a machine has, and how long it takes: all else is the recipe's own.
HERE = {"dataloader_num_workers": 0, "max_steps": 4, "save_steps": 2}
GLOBAL_BATCH = 4
CUT_AT = 2


class Cut(BaseException):
    """Ends a run as a kill would, in all processes at the same step."""


class Watch:
    """Cuts a run off after ``CUT_AT`` steps, and keeps hold of the model that is trained."""

    def __init__(self) -> None:
        self.cutting = False
        self.model: Any = None
        original = CropTrainer.compute_loss

        def watched(trainer: Any, *arguments: Any, **options: Any) -> Any:
            self.model = trainer.classifier.model
            if self.cutting and trainer.state.global_step == CUT_AT:
                raise Cut
            return original(trainer, *arguments, **options)

        CropTrainer.compute_loss = watched  # type: ignore[method-assign]

    def cut(self, recipe: Recipe) -> None:
        """Train until the cut."""
        self.cutting = True
        try:
            train(recipe, quiet=True)
        except Cut:
            return
        finally:
            self.cutting = False
        raise AssertionError("the run came to its end before it was cut off")

    def weights(self) -> str:
        """A digest of the trained weights."""
        digest = hashlib.sha256()
        for _, weights in sorted(self.model.named_parameters()):
            digest.update(np.ascontiguousarray(weights.detach().float().numpy()).data)
        return digest.hexdigest()


def recipe_here(path: Path, source: str, out: Path, processes: int) -> Recipe:
    """The recipe on this machine; as many recordings a step as anywhere."""
    crops = read_recipe(path).data.crops_per_recording
    size = GLOBAL_BATCH * crops // processes
    return read_recipe(path, {**HERE, "per_device_train_batch_size": size, "source": source, "output_dir": str(out)})


def alone(watch: Watch, path: Path, source: str, out: Path) -> dict[str, Any]:
    """Train undisturbed, and again with a cut; evaluate; push."""
    recipe = recipe_here(path, source, out, 1)
    whole = recipe_here(path, source, out.with_name(f"{out.name}-whole"), 1)
    train(whole, quiet=True)
    watch.cut(recipe)
    run = train(recipe, resume=True, quiet=True)
    first, second = (load_file(Path(one.out) / "model.safetensors") for one in (whole, recipe))
    found = {
        "model": recipe.model.model, "steps": run["steps"], "losses": run["losses"],
        "objective": recipe.objective.objective,
        "resumed_exactly": first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first),
    }  # fmt: skip
    if recipe.objective.objective == "contrastive":  # an encoder, which has no scores
        return found
    code = command(
        ["evaluate", str(out), "--source", source, "--split", "test", "--resamples", "2", "--no-report", "--quiet"]
    )
    push_model(out, f"me/{out.name}")
    return {**found, "evaluated": code, **_logits(out, source)}


def together(watch: Watch, path: Path, source: str, out: Path) -> dict[str, Any]:
    """Train until the cut and go on; do all processes hold the same weights?"""
    size = torch.distributed.get_world_size() if torch.distributed.is_initialized() else int(os.environ["WORLD_SIZE"])
    recipe = recipe_here(path, source, out, size)
    watch.cut(recipe)
    run = train(recipe, resume=True, quiet=True)
    digests: list[Any] = [None] * size
    torch.distributed.all_gather_object(digests, watch.weights())
    return {"model": recipe.model.model, "steps": run["steps"], "processes": run["processes"], "weights": digests}


def _logits(out: Path, source: str) -> dict[str, Any]:
    """What the classifier says of a window, with what it was given, for transformers to repeat."""
    classifier = load_classifier(out, device="cpu")
    row = next(iter(split_info(source, "all", "test").rows()))
    rate = classifier.sampling_rate
    waveform = read_window(row["audio"], 0.0, min(classifier.window.size_s, 1.5), rate)
    arrays = {"waveform": waveform, "logits": classifier.logits([waveform]), "sampling_rate": np.array(rate)}
    is_image = classifier.frontend.layout.name == "pixel_values"
    if is_image:
        inputs = classifier.frontend.model_inputs(torch.from_numpy(waveform)[None], torch.tensor([len(waveform)]))
        arrays["pixel_values"] = inputs["pixel_values"].numpy()
    np.savez(out.with_suffix(".npz"), **arrays)
    return {"image": is_image, "sampling_rate": rate, "species": classifier.species}


def run_job(job: dict[str, Any]) -> int:
    """All recipes in turn; a failure is written down. Several processes end with it, since one may be elsewhere."""
    torch.set_num_threads(1)
    gc.freeze()  # each run collects garbage: the libraries' objects need not be looked at every time
    # a picture takes as long as the steps, and has its own tests
    records.draw_curves = lambda _, path, **__: Path(path).touch()  # type: ignore[assignment]
    watch, rank = Watch(), int(os.environ.get("RANK", "0"))
    several = "RANK" in os.environ
    for text in job["recipes"]:
        path, out = Path(text), Path(job["output_dir"]) / Path(text).stem
        out.with_suffix(".begun").touch()
        try:
            found = (together if several else alone)(watch, path, job["source"], out)
        except Exception:  # noqa: BLE001  the test of this recipe says it
            (out.parent / f"{out.name}.failed-{rank}").write_text(traceback.format_exc())
            if several:
                return 1
            continue
        if rank == 0:
            out.with_suffix(".json").write_text(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(json.loads(Path(sys.argv[1]).read_text())))
