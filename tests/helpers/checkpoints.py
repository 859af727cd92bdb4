"""Checkpoints as others leave them: small in depth and width, true in file names and in the names of their weights."""

import json
import os
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

SPEECH = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8,
    "num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8,
}  # fmt: skip
KINDS = {  # type → config, and the class that the Hub's base checkpoint was saved from
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForPreTraining"),
    "hubert": ("HubertConfig", "HubertModel"),
    "wavlm": ("WavLMConfig", "WavLMModel"),
    "data2vec-audio": ("Data2VecAudioConfig", "Data2VecAudioModel"),
}
LAYOUTS = ("bin", "bin-shards", "safetensors", "safetensors-shards")


def pretrained(folder: Path, kind: str = "wav2vec2", layout: str = "bin") -> dict[str, torch.Tensor]:
    """A self-supervised base checkpoint, as the Hub's; returns its weights under their old names."""
    torch.manual_seed(1)
    config, model = (getattr(transformers, name) for name in KINDS[kind])
    extra = {"conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2} if kind == "data2vec-audio" else {}
    one = model(config(**{**SPEECH, **extra}))
    names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    weights = {}
    for name, tensor in one.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        weights[name] = tensor.clone()
    write_config(folder, one.config, [type(one).__name__])
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=kind != "wav2vec2").save_pretrained(folder)
    write_weights(folder, weights, layout)
    return weights


def write_config(folder: Path, config: transformers.PreTrainedConfig, architectures: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    values = {**config.to_dict(), "architectures": architectures, "transformers_version": "4.7.0.dev0"}
    (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if k != "dtype"}, default=str))


def write_weights(folder: Path, weights: dict[str, torch.Tensor], layout: str) -> None:
    """In one file or in two with an index."""
    stem, suffix = ("pytorch_model", ".bin") if layout.startswith("bin") else ("model", ".safetensors")

    def write(part: dict[str, torch.Tensor], path: Path) -> None:
        if suffix == ".bin":
            torch.save(part, path)
        else:
            save_file({name: one.contiguous() for name, one in part.items()}, path, metadata={"format": "pt"})

    if not layout.endswith("shards"):
        return write(weights, folder / f"{stem}{suffix}")
    names = list(weights)
    where = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"{stem}-0000{i + 1}-of-00002{suffix}"
        write({name: weights[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    size = sum(one.numel() * one.element_size() for one in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / f"{stem}{suffix}.index.json").write_text(json.dumps(index))
    return None


class Trap:
    """A pickle that touches a file when it is loaded by anything that runs pickles."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def trapped(path: Path, marker: Path) -> None:
    torch.save({"classifier.weight": Trap(marker)}, path)


def as_the_example_leaves_it(folder: Path, names: list[str], **config: object) -> None:
    """What transformers' run_audio_classification.py leaves in its output folder: a Wav2Vec2 of these classes."""
    torch.manual_seed(2)
    settings = transformers.Wav2Vec2Config(
        **{**SPEECH, **config}, finetuning_task="audio-classification",
        label2id={name: str(i) for i, name in enumerate(names)},
        id2label={str(i): name for i, name in enumerate(names)},
    )  # fmt: skip
    transformers.Wav2Vec2ForSequenceClassification(settings).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    values["label2id"] = {name: str(i) for i, name in enumerate(names)}  # as its example writes them
    path.write_text(json.dumps(values))
    trapped(folder / "training_args.bin", folder / "ran")  # a pickle, which nobody has to read
    for name in ("all_results.json", "eval_results.json", "train_results.json", "trainer_state.json"):
        (folder / name).write_text("{}")
    (folder / "README.md").write_text("---\ntags: [audio-classification]\n---\n")
    inner = folder / "checkpoint-5"
    inner.mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "training_args.bin"):
        shutil.copy(folder / name, inner)
    torch.save({}, inner / "optimizer.pt")
