"""Model cards: rendered from ``results.json`` alone, with the model-index that the Hub reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import InatSoundsError, ScoresError
from hf_inatsounds.files import write_text
from hf_inatsounds.fingerprints import checkpoint_digest
from hf_inatsounds.metrics.names import OVERVIEW
from hf_inatsounds.progress import note
from hf_inatsounds.reports import (
    identical_line,
    interval_text,
    markdown_table,
    metric_rows,
    number_text,
    signed,
    summarise,
)
from hf_inatsounds.reports.markdown import render_markdown
from hf_inatsounds.runtime.installing import INSTALL
from hf_inatsounds.schema import CITATION, LICENSE, TERMS

CARD_FILE = "README.md"
_FAMILIES = {
    "ASTForAudioClassification": "An Audio Spectrogram Transformer",
    "Wav2Vec2ForSequenceClassification": "A Wav2Vec2",
    "Wav2Vec2BertForSequenceClassification": "A Wav2Vec2-BERT",
    "HubertForSequenceClassification": "A HuBERT",
    "WavLMForSequenceClassification": "A WavLM",
    "Data2VecAudioForSequenceClassification": "A data2vec-audio",
    "WhisperForAudioClassification": "A Whisper encoder",
    "ResNetForImageClassification": "A ResNet on spectrogram images",
    "ViTForImageClassification": "A vision transformer on spectrogram images",
    "EfficientNetForImageClassification": "An EfficientNet on spectrogram images",
    "MobileNetV2ForImageClassification": "A MobileNet-V2 on spectrogram images",
}
OF_IMAGES = "ForImageClassification"
"""Ending of the architectures that see an image of the sound.

Their pipeline is transformers' "image-classification": the one that loads them (audio-classification refuses an image
model), and takes the spectrogram as an image. What they are for stands among the tags.
"""


def read_results(
    run_dir: str | Path, passed_over: Callable[[str, InatSoundsError], None] | None = None
) -> list[dict[str, Any]]:
    """All ``results.json`` of a run's evaluations: its own, and those of folders in it; test before validation.

    Only those of the very model that lies there count: one that was copied in, or is older than the weights, is named
    on stderr and left out.

    Args:
        run_dir: the run's folder.
        passed_over: told of each malformed one, while another is not; None to raise for it.

    Raises:
        ScoresError: if there is none, or one is malformed.
    """
    run_dir = Path(run_dir)
    own, foreign = results_of(run_dir, passed_over)
    for path in foreign:
        note(f"left out, since it is of another model than the one in {run_dir}: {path}")
    if not own:
        raise ScoresError(
            "no results", where=run_dir,
            found=f"results of another model in {foreign[0].parent}" if foreign else "no results.json of an evaluation",
            expected="an evaluated run", fix=f"Run: hf-inatsounds evaluate {run_dir} --source SOURCE --split test",
        )  # fmt: skip
    return sorted(own.values(), key=lambda results: ("test", "validation", "train").index(results["dataset"]["split"]))


def results_of(
    run_dir: Path, passed_over: Callable[[str, InatSoundsError], None] | None = None
) -> tuple[dict[Path, dict[str, Any]], list[Path]]:
    """Evaluations in a run folder: those of the model that lies there by path, and the paths of others.

    In a folder without a model all have to be of one. ``passed_over`` is told of malformed ones; None to raise.

    Raises:
        ScoresError: if one is malformed, or a folder without a model holds evaluations of several.
    """
    found, malformed = {}, {}
    for path in (run_dir / "results.json", *sorted(run_dir.glob("*/results.json"))):
        if path.exists():
            try:
                results = _read(path)
            except ScoresError as error:
                malformed[str(path)] = error
                continue
            if "suite" not in results:  # a benchmark's, which stands in the run folder too
                found[path] = results
    for name, reason in malformed.items():
        if passed_over is None or not found:
            raise reason
        passed_over(name, reason)
    digests = {path: results["model"].get("checkpoint_sha256") for path, results in found.items()}
    model = checkpoint_digest(run_dir)
    if model is None and len(set(digests.values())) > 1:
        raise ScoresError(
            "evaluations of several models", where=run_dir, found=", ".join(str(path) for path in found),
            expected="one model's, or the model beside them",
        )  # fmt: skip
    own = {path: results for path, results in found.items() if model is None or digests[path] == model}
    return own, [path for path in found if path not in own]


def _read(path: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "suite" not in results:
            for key in ("model", "dataset", "window", "windows", "metrics", "defects", "environment"):
                results[key]
            results["model"].get("checkpoint_sha256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ScoresError("malformed results", where=path, found=error, expected="what evaluate wrote") from error
    return results


def write_card(
    run_dir: str | Path,
    *,
    model_id: str | None = None,
    passed_over: Callable[[str, InatSoundsError], None] | None = None,
) -> Path:
    """Render the card of a run into its ``README.md``.

    Args:
        run_dir: a checkpoint's folder with evaluations below it.
        model_id: its name on the Hub; None for the folder's name.
        passed_over: as :func:`read_results` takes it.

    Raises:
        ScoresError: as :func:`read_results`.
    """
    evaluations = read_results(run_dir, passed_over)
    if model_id is not None:
        evaluations = [{**one, "model": {**one["model"], "name": model_id}} for one in evaluations]
    path = Path(run_dir) / CARD_FILE
    write_text(path, render_card(evaluations))
    return path


def render_card(evaluations: list[dict[str, Any]]) -> str:
    """The card's text from one or more results of one model, the first of them the headline."""
    first = evaluations[0]
    training = first["model"].get("training")
    return render_markdown(
        "hf_inatsounds.reports",
        "templates/model_card.md.jinja",
        metadata=metadata(evaluations),
        model=first["model"],
        is_image=first["model"]["architecture"].endswith(OF_IMAGES),
        dataset=first["dataset"],
        window=first["window"],
        training=training,
        seed=training["seed"] if training else "not known",
        training_sentence=_trained_on(first, training),
        family=_FAMILIES.get(first["model"]["architecture"], f"A {first['model']['architecture']}"),
        evaluations=[_shown(results) for results in evaluations],
        official=(training or first)["dataset"].get("official", False),
        terms=TERMS,
        install=INSTALL,
        citation=CITATION,
        environment=first["environment"],
    )


def metadata(evaluations: list[dict[str, Any]]) -> str:
    """The card's YAML: tags, terms and a model-index with one result per metric and split."""
    from huggingface_hub import EvalResult, ModelCardData

    name = evaluations[0]["model"]["name"].rsplit("/", 1)[-1]
    results = [
        EvalResult(
            task_type="audio-classification",
            task_name="Audio Classification",
            dataset_type="inatsounds",
            dataset_name=one["dataset"]["title"],
            dataset_config=one["dataset"]["name"],
            dataset_split=one["dataset"]["split"],
            metric_type=metric.hub_type,
            metric_name=metric.hub_name,
            metric_value=round(one["metrics"]["mean"][key], 4),
            metric_args={"aggregation": "mean", "absent_classes": "ignored"},
        )
        for one in evaluations
        for key, metric in OVERVIEW.items()
        if one["metrics"]["mean"][key] is not None
    ]
    is_image = evaluations[0]["model"]["architecture"].endswith(OF_IMAGES)
    card = ModelCardData(
        library_name="transformers",
        pipeline_tag="image-classification" if is_image else "audio-classification",
        **LICENSE,
        tags=[
            *(["audio-classification"] if is_image else []),
            "bioacoustics",
            "biodiversity",
            "inatsounds",
            evaluations[0]["model"]["objective"],
        ],
        model_name=name,
        eval_results=results,
    )
    return str(card.to_yaml())


def _shown(results: dict[str, Any]) -> dict[str, Any]:
    dataset, window = results["dataset"], results["window"]
    return {
        "dataset": dataset,
        "table": markdown_table(metric_rows(results["metrics"], results.get("intervals"))),
        "defects_line": summarise(results["defects"]),
        "identical_line": identical_line(results),
        "intervals": results.get("intervals"),
        "prior": _prior_sentence(results),
        "sentence": (
            f"{dataset['recordings']:,} recordings ({dataset['hours']:.2f} h), {results['windows']:,} windows of "
            f"{window['size_s']:g} s every {window['stride_s']:g} s; {dataset['present_classes']} of "
            f"{dataset['classes']} classes are in the split."
        ),
    }


def _prior_sentence(results: dict[str, Any]) -> str:
    """What a range prior adds to the headline; empty where none was tried."""
    geo = results.get("geo_prior")
    if geo is None:
        return ""
    gap, counts = geo["difference"]["map"], geo["recordings"]
    return (
        f"With the recording's place and the range prior `{geo['name']}` ({geo['mode']}) mAP is "
        f"{number_text(geo['metrics']['map'])}: {signed(gap['value'])}, interval of the paired difference "
        f"{interval_text(gap['interval'], sign=True)}; {counts['without_place']:,} recordings have no place."
    )


def _trained_on(results: dict[str, Any], training: dict[str, Any] | None) -> str:
    if training is None:
        return results["dataset"]["title"] + " (training not recorded)"
    return f"{training['dataset']['title']}, {training['dataset']['split']} split"
