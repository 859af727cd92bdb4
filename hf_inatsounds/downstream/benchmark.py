"""A benchmark: a model on a suite by a protocol, into ``results.json`` and a table."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from hf_inatsounds.audio.windows import chosen_window
from hf_inatsounds.downstream.clips import Fold, Suite, Task
from hf_inatsounds.downstream.crosswalk import Crosswalk, match_classes, read_codes, read_synonyms
from hf_inatsounds.downstream.embedding_cache import default_cache
from hf_inatsounds.downstream.fine_tuning import fine_tuning_recipe, is_preset
from hf_inatsounds.downstream.fold_files import fold_file, fold_fingerprint, load_fold, save_fold
from hf_inatsounds.downstream.left_out import usable
from hf_inatsounds.downstream.options import Options
from hf_inatsounds.downstream.policies import mean_of, measure_one, sd_of
from hf_inatsounds.downstream.protocols import RUN, FoldResult, Trial
from hf_inatsounds.downstream.references import references_of
from hf_inatsounds.downstream.suites import load_suite
from hf_inatsounds.errors import ArgumentsError, CheckpointError, SuiteError
from hf_inatsounds.evaluation import RESULTS_FILE, environment
from hf_inatsounds.files import defined, write_json
from hf_inatsounds.inference.embedding import Embedder, load_embedder
from hf_inatsounds.metrics.bootstrap import bootstrap_interval
from hf_inatsounds.progress import Bar
from hf_inatsounds.training.arguments import changed
from hf_inatsounds.training.recipe import Recipe


def benchmark(model: str, suite: Suite, out: Path, options: Options, *, quiet: bool = False) -> dict[str, Any]:
    """Judge a model, write ``results.json`` into ``out``, return what it holds.

    Folds that ``out`` holds of the same model, data and options are not done again. A data set that fails is left out,
    with its reason, while another does not.

    Args:
        model: checkpoint folder or Hub id; for fine-tuning a preset too.
        suite: from :func:`load_suite`.
        out: folder of the results.
        options: protocol and what belongs to it.
        quiet: no progress.

    Raises:
        InatSoundsError: for whatever is wrong with model, data or options.
    """
    with tempfile.TemporaryDirectory(prefix="hf-inatsounds-") as scratch:
        embedder, name = _model(model, options, Path(scratch))
        its = options if name == model else replace(options, revision=None, subfolder=None)
        tasks, failed = usable({one.name: partial(_task, one, embedder, name, out, its, quiet) for one in suite.tasks})
    results = {
        "suite": suite.name,
        "protocol": options.protocol,
        "model": _about(model, embedder, options),
        "tasks": tasks,
        "mean": _suite_mean(suite, tasks),
        "left_out": {**suite.left_out, **failed},
        "heard": list(suite.heard),
        "options": {key: value for key, value in asdict(options).items() if key != "cache"},
        "environment": environment(),
    }
    found: dict[str, Any] = defined(results)
    write_json(out / RESULTS_FILE, found)
    return found


def benchmark_model(
    model: str | Path,
    suite: str,
    data: str | Path,
    *,
    subset: Sequence[str] = (),
    out: str | Path | None = None,
    quiet: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Judge a model on a downstream suite, and write ``results.json``.

    Args:
        model: checkpoint folder or Hub id; for fine-tuning a preset too.
        suite: "birdset", "beans", "birb", "anuraset", "esc10", "esc50" or "folder", as ``benchmark --suite`` has them.
        data: where the suite's files are.
        subset: data sets of the suite; none for all of them.
        out: folder of the results; None for one in the run folder, or, for a Hub model, here.
        quiet: no progress.
        options: attributes of :class:`hf_inatsounds.downstream.options.Options`: ``protocol`` ("zero-shot",
            "linear-probe", "attentive-probe", "few-shot" or "fine-tune"), ``seed``, ``shots``, ``window_s`` …

    Returns:
        What ``results.json`` holds.

    Raises:
        InatSoundsError: for whatever is wrong with model, data or options.
    """
    options.setdefault("protocol", "few-shot" if suite == "birb" else "linear-probe")
    try:
        chosen = Options(**options)
    except TypeError as error:
        known = ", ".join(one.name for one in fields(Options))
        raise ArgumentsError("unknown option", found=error, expected=f"some of {known}") from error
    loaded = load_suite(suite, str(data), subset)
    where = Path(out) if out else default_out(str(model), suite, chosen.protocol, chosen.random_init)
    return benchmark(str(model), loaded, where, chosen, quiet=quiet)


def default_out(model: str, suite: str, protocol: str, random_init: int | None) -> Path:
    """Folder of the results where none is given: in the run folder; for a Hub model or a preset here.

    >>> str(default_out("owner/model", "esc10", "few-shot", None))
    'model-benchmark-esc10-few-shot'
    """
    name = f"benchmark-{suite}-{protocol}" + ("" if random_init is None else f"-random-{random_init}")
    return Path(model) / name if Path(model).is_dir() else Path(f"{Path(model).name}-{name}")


def _model(model: str, options: Options, scratch: Path) -> tuple[Embedder | None, str]:
    """The embedder, and what ``train`` is to start from."""
    if options.protocol == "fine-tune" and is_preset(model):
        if options.random_init is not None:
            raise ArgumentsError(
                "a preset starts from random weights", where="--random-init", fix="Give --seed instead."
            )
        return None, model
    embedder = load_embedder(
        model, revision=options.revision, subfolder=options.subfolder, random_init=options.random_init,
        device=options.device, dtype=options.dtype,
    )  # fmt: skip
    if options.window_s is not None or options.stride_s is not None:
        embedder.window = chosen_window(embedder.window, options.window_s, options.stride_s)
    if options.protocol != "fine-tune":  # training fits the input to the window
        embedder.check_window(embedder.window)
    if options.protocol == "fine-tune" and options.random_init is not None:
        if embedder.classifier is None:
            raise CheckpointError("no classification head", where=model, expected="a classifier, to fine-tune it")
        embedder.classifier.save(scratch)  # train starts from a folder
        return embedder, str(scratch)
    return embedder, model


def _task(
    task: Task, embedder: Embedder | None, start: str, out: Path, options: Options, quiet: bool
) -> dict[str, Any]:
    recipe = _recipe(task, embedder, start, options) if options.protocol == "fine-tune" else None
    crosswalk = _crosswalk(task, embedder, options) if options.protocol == "zero-shot" else None
    cache = Path(options.cache) if options.cache else default_cache()
    trial = Trial(task, embedder, cache, out / "work", tuple(range(options.seeds)), options.shots, options.seed,
              crosswalk, recipe, quiet)  # fmt: skip
    # the scratch folder's name, which a random start has as its model, changes from run to run
    recipe_key = None if recipe is None else changed(recipe, model=embedder.digest if embedder else recipe.model.model)
    model_key = None if embedder is None else (embedder.digest, embedder.window)
    done = []
    bar = Bar(f"{task.name}: folds", quiet=quiet)
    bar.start(len(task.folds))
    for number, fold in enumerate(task.folds):
        bar.update(number, f"fold {fold.name}")
        options_key = (options.protocol, options.seeds, options.shots, options.seed)
        fingerprint = fold_fingerprint(task, fold, model_key, recipe_key, options_key, crosswalk)
        path = fold_file(out, task.name, fold.name)
        result = load_fold(path, fingerprint)
        if result is None:
            # what an interrupted fine-tuning left is gone on with where the fold is still the same
            result = RUN[options.protocol](replace(trial, work=trial.work / fingerprint[:16]), fold)
            save_fold(path, result, fingerprint)
            shutil.rmtree(trial.work, ignore_errors=True)
        done.append(result)
    bar.close()
    found = _task_results(task, task.folds, done, crosswalk, options)
    return (
        found
        if recipe is None
        else {**found, "recipe": {**recipe.values(), "model": "", "source": "", "index": "", "output_dir": ""}}
    )


def _recipe(task: Task, embedder: Embedder | None, start: str, options: Options) -> Recipe:
    found = fine_tuning_recipe(
        start, task.policy.multilabel, recipe=options.recipe, window=None if embedder is None else embedder.window,
        parameters=0 if embedder is None else embedder.parameters, seed=options.seed,
        revision=options.revision or "", subfolder=options.subfolder or "",
    )  # fmt: skip
    return found if options.device == "auto" else changed(found, device=options.device.partition(":")[0])


def _crosswalk(task: Task, embedder: Embedder | None, options: Options) -> Crosswalk:
    classifier = None if embedder is None else embedder.classifier
    if embedder is None or classifier is None:
        raise CheckpointError("no classification head", where="zero-shot", expected="a classifier; probes need none")
    space = classifier.label_space
    crosswalk = match_classes(
        task.classes,
        classifier.species,
        codes=read_codes(options.codes) if options.codes else None,
        synonyms=read_synonyms(options.synonyms) if options.synonyms else None,
        common_names=None if space is None else [taxon.common_name for taxon in space.taxa],
    )
    if not crosswalk.pairs:
        raise SuiteError(
            "no class of the suite is one of the model's", where=task.name,
            found=f"{task.classes[0]!r} … and {classifier.species[0]!r} …",
            fix="Give --names (codes and scientific names) or --synonyms, or use a probe.",
        )  # fmt: skip
    return crosswalk


def _task_results(
    task: Task, folds: Sequence[Fold], done: Sequence[FoldResult], crosswalk: Crosswalk | None, options: Options
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "policy": {"name": task.policy.name, "headline": task.policy.headline, "states": task.policy.states},
        "classes": len(task.classes),
        "clips": len(task.clips),
        "folds": [
            {"fold": fold.name, **result.counts, "entries": [
                {**setting, **numbers} for setting, numbers in zip(result.settings, result.metrics, strict=True)
            ], **result.about}
            for fold, result in zip(folds, done, strict=True)
        ],
        "notes": list(task.notes),
        "published": [asdict(one) for one in references_of("birdset" if task.names == "ebird" else "", task.name)],
    }  # fmt: skip
    if crosswalk is not None:
        found["crosswalk"] = crosswalk.report()
    if options.protocol == "few-shot":
        return {**found, "shots": [_shots(task, k, done) for k in options.shots]}
    numbers = [result.metrics[0] for result in done]
    names = task.policy.metrics
    return {
        **found,
        "metrics": {name: mean_of([one[name] for one in numbers]) for name in names},
        "sd_over_folds": {name: sd_of([one[name] for one in numbers]) for name in names} if len(done) > 1 else None,
        "interval": _interval(task, done, options),
    }


def _interval(task: Task, done: Sequence[FoldResult], options: Options) -> list[float] | None:
    folds = []
    for result in done:
        if result.scores is None:
            return None
        targets = task.targets(result.test)
        targets = targets if result.columns is None else targets[:, result.columns]
        folds.append((result.scores, targets, task.recordings(result.test)))
    return bootstrap_interval(
        partial(measure_one, task.policy.headline),
        folds, draws=options.bootstrap, seed=options.seed,
    )  # fmt: skip


def _shots(task: Task, k: int, done: Sequence[FoldResult]) -> dict[str, Any]:
    """One number of exemplars: the mean over folds and seeds, and how much it depends on the seed."""
    headline = task.policy.headline
    by_seed: dict[int, list[dict[str, float | None]]] = {}
    for result in done:
        for setting, numbers in zip(result.settings, result.metrics, strict=True):
            if setting["shots"] == k:
                by_seed.setdefault(setting["seed"], []).append(numbers)
    means = [mean_of([one[headline] for one in entries]) for entries in by_seed.values()]
    every = [one for entries in by_seed.values() for one in entries]
    return {
        "shots": k,
        "metrics": {name: mean_of([one[name] for one in every]) for name in task.policy.metrics},
        "sd_over_seeds": sd_of(means),
        "seeds": len(by_seed),
    }


def _suite_mean(suite: Suite, tasks: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The suite's number over the tasks it is defined on, and which of them are missing."""
    there = [name for name in suite.mean_over if name in tasks and "metrics" in tasks[name]]
    if not there:
        return None
    names = tasks[there[0]]["metrics"]
    return {
        "metrics": {name: mean_of([tasks[task]["metrics"][name] for task in there]) for name in names},
        "over": there,
        "missing": [name for name in suite.mean_over if name not in tasks],
        "published": [asdict(one) for one in references_of(suite.name, "mean")],
    }


def _about(model: str, embedder: Embedder | None, options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {"name": Path(model).name, "random_init": options.random_init}
    if embedder is not None:
        found |= {"digest": embedder.digest, "sampling_rate": embedder.sampling_rate,
                  "window_s": embedder.window.size_s, "stride_s": embedder.window.stride_s}  # fmt: skip
    return found
