"""What the recipes at real scale cost, estimated: ``python -m benchmarks.costs`` prints the table of docs/recipes.md.

Counted, from the model's own forward pass on shapes alone (no weights, no data): parameters, FLOPs of an example, and
what is kept of it for the backward pass. Assumed: the backward pass costs twice the forward pass, and a GPU reaches
``UTILISATION`` of its peak. Memory is 16 bytes a parameter (weights, gradient, AdamW's two moments, in float32; 12 for
SGD) and the kept activations in bfloat16.
"""

from typing import Any

import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from hf_inatsounds.training.arguments import read_recipe

RECORDINGS = 137_012  # of the official train split
PEAK_FLOPS = {"A100": 312e12, "H100": 989e12, "L4": 121e12}  # dense bfloat16, as NVIDIA states it
UTILISATION = {"attention": 0.35, "convolution": 0.15}  # assumed: convolutions of this size wait for memory
CLASSES = 5_569

IMAGE = {"num_channels": 3, "num_labels": CLASSES}
MODELS: dict[str, tuple[str, str, dict[str, Any], tuple[int, ...], str]] = {
    # recipe: class, config, its overrides, shape of one example's input, kind
    "ast": ("ASTForAudioClassification", "ASTConfig", {}, (1024, 128), "attention"),
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", {}, (80_000,), "attention"),
    "hubert": ("HubertForSequenceClassification", "HubertConfig", {}, (80_000,), "attention"),
    "wavlm": ("WavLMForSequenceClassification", "WavLMConfig", {}, (80_000,), "attention"),
    "data2vec-audio": ("Data2VecAudioForSequenceClassification", "Data2VecAudioConfig", {}, (80_000,), "attention"),
    "unispeech-sat": ("UniSpeechSatForSequenceClassification", "UniSpeechSatConfig", {}, (80_000,), "attention"),
    "sew": (
        "SEWForSequenceClassification", "SEWConfig",
        {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048}, (80_000,), "attention",
    ),
    "wav2vec2-conformer": (
        "Wav2Vec2ConformerForSequenceClassification", "Wav2Vec2ConformerConfig",
        {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
         "feat_extract_norm": "layer", "conv_bias": True}, (80_000,), "attention",
    ),
    "wav2vec2-bert": ("Wav2Vec2BertForSequenceClassification", "Wav2Vec2BertConfig", {}, (250, 160), "attention"),
    "whisper": (
        "WhisperForAudioClassification", "WhisperConfig",
        {"d_model": 768, "encoder_layers": 12, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072,
         "max_source_positions": 250, "decoder_layers": 0}, (80, 500), "attention",
    ),
    "resnet-18": (
        "ResNetForImageClassification", "ResNetConfig",
        {**IMAGE, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
        (3, 224, 224), "convolution",
    ),
    "resnet-50": ("ResNetForImageClassification", "ResNetConfig", IMAGE, (3, 224, 224), "convolution"),
    "resnet-101": (
        "ResNetForImageClassification", "ResNetConfig", {**IMAGE, "depths": [3, 4, 23, 3]}, (3, 224, 224), "convolution"
    ),
    "vit-b16": ("ViTForImageClassification", "ViTConfig", IMAGE, (3, 224, 224), "attention"),
    "efficientnet-b0": (
        "EfficientNetForImageClassification", "EfficientNetConfig",
        {**IMAGE, "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 224},
        (3, 224, 224), "convolution",
    ),
    "convnext": ("ConvNextForImageClassification", "ConvNextConfig", IMAGE, (3, 224, 224), "convolution"),
    "mobilenet-v2": ("MobileNetV2ForImageClassification", "MobileNetV2Config", IMAGE, (3, 224, 224), "convolution"),
}  # fmt: skip


def counted(recipe: str) -> dict[str, float]:
    """Parameters, forward FLOPs and kept bytes of one example."""
    name, config_name, overrides, shape, kind = MODELS[recipe]
    config = getattr(transformers, config_name)(**{"num_labels": CLASSES, **overrides})
    for key, off in (("mask_time_prob", 0.0), ("layerdrop", 0.0), ("apply_spec_augment", False)):
        if hasattr(config, key):
            setattr(config, key, off)
    with torch.device("meta"):
        model = getattr(transformers, name)(config).train()
        inputs = torch.zeros(2, *shape)
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        if not isinstance(tensor, torch.nn.Parameter) and tensor.is_floating_point():
            kept += tensor.numel() * 2  # bfloat16
        return tensor

    with FlopCounterMode(display=False) as flops, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(inputs)
    return {
        "parameters": sum(weights.numel() for weights in model.parameters()),
        "flops": flops.get_total_flops() / 2,
        "kept_bytes": kept / 2,
        "utilisation": UTILISATION[kind],
    }


def estimate(name: str) -> dict[str, float]:
    """What a recipe costs on one GPU."""
    recipe, one = read_recipe(f"train/recipes/{name}.yaml"), counted(name)
    state = one["parameters"] * (12 if recipe.training.optim == "sgd" else 16)
    examples = recipe.training.per_device_train_batch_size
    # with checkpointing what is kept is about the square root of the layers' share; a quarter is on the safe side
    activations = one["kept_bytes"] * examples * (0.25 if recipe.training.gradient_checkpointing else 1)
    work = (
        (4 if recipe.training.gradient_checkpointing else 3)
        * one["flops"]
        * RECORDINGS
        * recipe.training.num_train_epochs
    )
    hours = {gpu: work / (peak * one["utilisation"]) / 3600 for gpu, peak in PEAK_FLOPS.items()}
    steps = (
        -(-RECORDINGS // (examples * recipe.training.gradient_accumulation_steps)) * recipe.training.num_train_epochs
    )
    return {**one, "steps": steps, "memory_gib": (state + activations) / 2**30, **hours}


def table() -> str:
    """Markdown."""
    head = [
        "recipe",
        "parameters, M",
        "GFLOPs an example",
        "steps",
        "memory, GiB",
        *(f"hours, {gpu}" for gpu in PEAK_FLOPS),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name in MODELS:
        one = estimate(name)
        cells = [f"{one['parameters'] / 1e6:.0f}", f"{one['flops'] / 1e9:.1f}", f"{one['steps']:,}"]
        cells += [f"{one['memory_gib']:.0f}", *(f"{one[gpu]:.1f}" for gpu in PEAK_FLOPS)]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
