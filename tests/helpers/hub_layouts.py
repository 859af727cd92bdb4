"""Small checkpoints in the layout of the Hub repositories that train/recipes/ start from.

File names, names of weights, config values and preprocessor files are the repositories' own (docs/recipes.md says where
each was read); depth and width alone are smaller. Weights are random, all of them, so that none can go missing unseen.
"""

import json
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

Values = dict[str, Any]
SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"
UNREAD = b"not to be fetched: another framework's weights, or the second choice"


@dataclass(frozen=True)
class Layout:
    """One repository.

    Attributes:
        architecture: transformers' class whose weights it holds.
        config: config.json, less the classes.
        smaller: what differs here: depth and width.
        preprocessor: preprocessor_config.json.
        weights: the file that is to be read.
        beside: files of weights that are not.
        files: other files by name.
        labels: names of its classes; none for a model without a head.
    """

    architecture: str
    config: Values
    smaller: Values
    preprocessor: Values
    weights: str = SAFETENSORS
    beside: tuple[str, ...] = ()
    files: Values = field(default_factory=dict)
    labels: tuple[str, ...] = ()


def write_layout(layout: Layout, folder: Path) -> Path:
    """The repository's files in ``folder``."""
    classes: Values = {}
    if layout.labels:
        # as the Hub has it: the dictionary from labels keeps the last of two that are equal
        names = dict(enumerate(layout.labels))
        classes = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    values = {**layout.config, **layout.smaller, **classes, "architectures": [layout.architecture]}
    kind = getattr(transformers, layout.architecture)
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = kind(kind.config_class.from_dict(json.loads(json.dumps(values))))
    _shake(model)
    model.save_pretrained(folder)
    for path in folder.glob("*.json"):
        path.unlink()  # what this version of transformers writes; below is what the Hub has
    _json(folder / "config.json", values)
    _json(folder / "preprocessor_config.json", layout.preprocessor)
    if layout.weights == BIN:
        torch.save(
            OrderedDict((_older(name), one) for name, one in load_file(folder / SAFETENSORS).items()), folder / BIN
        )
        (folder / SAFETENSORS).unlink()
    for name in layout.beside:
        (folder / name).write_bytes(UNREAD)
    for name, content in {
        ".gitattributes": "*.bin filter=lfs\n",
        "README.md": "---\nlicense: apache-2.0\n---\n",
        **layout.files,
    }.items():
        if isinstance(content, str):
            (folder / name).write_text(content, encoding="utf-8")
        else:
            _json(folder / name, content)
    return folder


@torch.no_grad()
def _shake(model: Any) -> None:
    """No weight is zero, one, or what another model is drawn as; norms scale by about one, as trained ones do."""
    for weights in model.parameters():
        weights += 0.02 * torch.randn_like(weights)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.weight.copy_(1.0 + 0.1 * torch.randn_like(module.weight))
            module.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]


def _older(name: str) -> str:
    """A weight norm's names before torch 2.0, when these files were written."""
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        name = name.replace(f"parametrizations.weight.{new}", old)
    return name


def _json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _named(count: int, known: dict[int, str], what: str) -> tuple[str, ...]:
    return tuple(known.get(i, f"{what} {i}, and another name") for i in range(count))


# Commas and apostrophes as in the real ones, and two that are equal.
AUDIOSET = _named(
    527,
    {
        0: "Speech", 1: "Male speech, man speaking", 73: "Domestic animals, pets", 111: "Bird",
        112: "Bird vocalization, bird call, bird song",
    },
    "AudioSet",
)  # fmt: skip
IMAGENET = _named(
    1000,
    {
        0: "tench, Tinca tinca", 134: "crane", 517: "crane", 477: "carpenter's kit, tool kit",
        986: "yellow lady's slipper, yellow lady-slipper, Cypripedium calceolus, Cypripedium parviflorum",
    },
    "ImageNet",
)  # fmt: skip

_CONVOLUTIONS: Values = {
    "conv_bias": False, "conv_dim": [512] * 7, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2], "num_feat_extract_layers": 7, "feat_extract_activation": "gelu",
}  # fmt: skip
_BASE: Values = {
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
    "hidden_act": "gelu", "hidden_dropout": 0.1, "attention_dropout": 0.1, "initializer_range": 0.02,
    "layer_norm_eps": 1e-05, "num_conv_pos_embedding_groups": 16, "classifier_proj_size": 256,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 32, "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": False, "mask_time_prob": 0.05, "mask_time_length": 10, "mask_feature_prob": 0.0,
    "mask_feature_length": 10, "torch_dtype": "float32",
}  # fmt: skip
_SPEECH: Values = {
    **_BASE, **_CONVOLUTIONS, "apply_spec_augment": True, "do_stable_layer_norm": False, "feat_extract_norm": "group",
    "feat_proj_dropout": 0.1, "num_conv_pos_embeddings": 128,
}  # fmt: skip
_QUANTIZER: Values = {
    "codevector_dim": 256, "contrastive_logits_temperature": 0.1, "diversity_loss_weight": 0.1,
    "feat_quantizer_dropout": 0.0, "num_codevector_groups": 2, "num_codevectors_per_group": 320, "num_negatives": 100,
    "proj_codevector_dim": 256, "freeze_feat_extract_train": True, "mask_channel_length": 10,
    "mask_channel_min_space": 1, "mask_channel_other": 0.0, "mask_channel_prob": 0.0,
    "mask_channel_selection": "static", "mask_time_min_space": 1, "mask_time_other": 0.0,
    "mask_time_selection": "static", "no_mask_channel_overlap": False, "no_mask_time_overlap": False,
}  # fmt: skip
_XVECTOR: Values = {
    "tdnn_dim": [512, 512, 512, 512, 1500], "tdnn_kernel": [5, 3, 3, 1, 1], "tdnn_dilation": [1, 2, 3, 1, 1],
    "xvector_output_dim": 512, "use_weighted_layer_sum": False, "add_adapter": False, "adapter_kernel_size": 3,
    "adapter_stride": 2,
}  # fmt: skip
_SMALL: Values = {
    "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4, "conv_dim": [16] * 7,
}  # fmt: skip
_WAVEFORM: Values = {
    "do_normalize": True, "feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1,
    "padding_side": "right", "padding_value": 0.0, "return_attention_mask": False, "sampling_rate": 16000,
}  # fmt: skip
_LETTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ")
_RESNET: Values = {
    "model_type": "resnet", "embedding_size": 64, "downsample_in_first_stage": False, "hidden_act": "relu",
    "num_channels": 3, "torch_dtype": "float32", "transformers_version": "4.18.0.dev0",
}  # fmt: skip
_CONVNEXT_IMAGES: Values = {
    "crop_pct": 0.875, "do_normalize": True, "do_resize": True, "feature_extractor_type": "ConvNextFeatureExtractor",
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 224,
}  # fmt: skip


def _resnet(depths: list[int], sizes: list[int], kind: str, small: list[int], **files: Any) -> Layout:
    config = {**_RESNET, "depths": depths, "hidden_sizes": sizes, "layer_type": kind}
    smaller = {"embedding_size": 8, "depths": small, "hidden_sizes": [size // 8 for size in sizes]}
    return Layout("ResNetForImageClassification", config, smaller, _CONVNEXT_IMAGES, labels=IMAGENET, **files)


def _mel_filters() -> list[list[float]]:
    """Whisper's are in its preprocessor_config.json, 16,080 numbers."""
    filters: list[list[float]] = transformers.WhisperFeatureExtractor().mel_filters.T.tolist()
    return filters


LAYOUTS: dict[str, Layout] = {
    "MIT/ast-finetuned-audioset-10-10-0.4593": Layout(
        "ASTForAudioClassification",
        {
            "model_type": "audio-spectrogram-transformer", "attention_probs_dropout_prob": 0.0, "frequency_stride": 10,
            "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "hidden_size": 768, "initializer_range": 0.02,
            "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_length": 1024, "num_attention_heads": 12,
            "num_hidden_layers": 12, "num_mel_bins": 128, "patch_size": 16, "qkv_bias": True, "time_stride": 10,
            "torch_dtype": "float32", "transformers_version": "4.25.0.dev0",
        },
        {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2},
        {
            "do_normalize": True, "feature_extractor_type": "ASTFeatureExtractor", "feature_size": 1,
            "max_length": 1024, "mean": -4.2677393, "num_mel_bins": 128, "padding_side": "right", "padding_value": 0.0,
            "return_attention_mask": False, "sampling_rate": 16000, "std": 4.5689974,
        },
        beside=(BIN,),
        labels=AUDIOSET,
    ),
    "facebook/wav2vec2-base": Layout(
        "Wav2Vec2ForPreTraining",
        {
            **_SPEECH, **_QUANTIZER, "model_type": "wav2vec2", "activation_dropout": 0.0, "final_dropout": 0.0,
            "layerdrop": 0.0, "gradient_checkpointing": True, "transformers_version": "4.7.0.dev0",
        },
        {**_SMALL, "codevector_dim": 32, "proj_codevector_dim": 32},
        {key: value for key, value in _WAVEFORM.items() if key != "feature_extractor_type"},  # older than the key
        weights=BIN,
        files={
            "special_tokens_map.json": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
            "tokenizer_config.json": {"do_lower_case": False, "return_attention_mask": False, "do_normalize": True},
            "vocab.json": {letter: i for i, letter in enumerate(_LETTERS)},
        },
    ),
    "facebook/hubert-base-ls960": Layout(
        "HubertModel",
        {
            **_SPEECH, "model_type": "hubert", "activation_dropout": 0.1, "final_dropout": 0.1, "layerdrop": 0.1,
            "hidden_dropout_prob": 0.1, "feat_extract_dropout": 0.0, "gradient_checkpointing": False,
            "tokenizer_class": "Wav2Vec2CTCTokenizer", "transformers_version": "4.10.0.dev0",
        },
        _SMALL,
        {**_WAVEFORM, "padding_value": 0},
        weights=BIN,
        beside=("tf_model.h5",),
    ),
    "microsoft/wavlm-base-plus": Layout(
        "WavLMModel",
        {
            **_SPEECH, **_QUANTIZER, **_XVECTOR, "model_type": "wavlm", "activation_dropout": 0.0,
            "final_dropout": 0.0, "layerdrop": 0.05, "max_bucket_distance": 800, "num_buckets": 320,
            "num_adapter_layers": 3, "num_ctc_classes": 80, "output_hidden_size": 768, "replace_prob": 0.5,
            "mask_feature_min_masks": 0, "mask_time_min_masks": 2, "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "transformers_version": "4.13.0.dev0",
        },
        {**_SMALL, "output_hidden_size": 32},
        {**_WAVEFORM, "do_normalize": False, "return_attention_mask": True},
        weights=BIN,
    ),
    "facebook/data2vec-audio-base": Layout(
        "Data2VecAudioModel",
        {
            **_BASE, **_CONVOLUTIONS, **_XVECTOR, "model_type": "data2vec-audio", "activation_dropout": 0.1,
            "final_dropout": 0.1, "layerdrop": 0.1, "feat_proj_dropout": 0.0, "conv_pos_kernel_size": 19,
            "num_conv_pos_embeddings": 5, "num_adapter_layers": 3, "output_hidden_size": 768,
            "mask_feature_min_masks": 0, "mask_time_min_masks": 2, "transformers_version": "4.17.0.dev0",
        },
        {**_SMALL, "output_hidden_size": 32},
        {**_WAVEFORM, "return_attention_mask": True},
        weights=BIN,
    ),
    "facebook/w2v-bert-2.0": Layout(
        "Wav2Vec2BertModel",
        {
            **_BASE, **_XVECTOR, "model_type": "wav2vec2-bert", "activation_dropout": 0.0, "attention_dropout": 0.0,
            "adapter_act": "relu", "apply_spec_augment": False, "classifier_proj_size": 768, "codevector_dim": 768,
            "conformer_conv_dropout": 0.1, "conv_depthwise_kernel_size": 31, "feat_proj_dropout": 0.0,
            "feature_projection_input_dim": 160, "final_dropout": 0.1, "hidden_act": "swish", "hidden_dropout": 0.0,
            "hidden_size": 1024, "intermediate_size": 4096, "layerdrop": 0.1, "left_max_position_embeddings": 64,
            "right_max_position_embeddings": 8, "max_source_positions": 5000, "num_adapter_layers": 1,
            "num_attention_heads": 16, "num_hidden_layers": 24, "output_hidden_size": 1024,
            "position_embeddings_type": "relative_key", "rotary_embedding_base": 10000, "vocab_size": None,
            "mask_feature_min_masks": 0, "mask_time_min_masks": 2, "use_intermediate_ffn_before_adapter": False,
            "transformers_version": "4.37.1",
        },
        {
            "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 4,
            "output_hidden_size": 32,
        },
        {
            "feature_extractor_type": "SeamlessM4TFeatureExtractor", "feature_size": 80, "num_mel_bins": 80,
            "padding_side": "right", "padding_value": 1, "processor_class": "Wav2Vec2BertProcessor",
            "return_attention_mask": True, "sampling_rate": 16000, "stride": 2,
        },
        beside=("conformer_shaw.pt",),
    ),
    "facebook/wav2vec2-conformer-rel-pos-large": Layout(
        "Wav2Vec2ConformerForPreTraining",
        {
            **_SPEECH, **_XVECTOR, "model_type": "wav2vec2-conformer", "activation_dropout": 0.1, "final_dropout": 0.1,
            "codevector_dim": 768, "proj_codevector_dim": 768, "contrastive_logits_temperature": 0.1,
            "diversity_loss_weight": 0.1, "feat_quantizer_dropout": 0.0, "num_codevector_groups": 2,
            "num_codevectors_per_group": 320, "num_negatives": 100, "conformer_conv_dropout": 0.1, "conv_bias": True,
            "conv_depthwise_kernel_size": 31, "do_stable_layer_norm": True, "feat_extract_norm": "layer",
            "feat_extract_dropout": 0.0, "gradient_checkpointing": False, "hidden_act": "swish",
            "hidden_dropout_prob": 0.1, "hidden_size": 1024, "intermediate_size": 4096, "layerdrop": 0.0,
            "max_source_positions": 5000, "num_adapter_layers": 3, "num_attention_heads": 16, "num_hidden_layers": 24,
            "output_hidden_size": 1024, "position_embeddings_type": "relative", "rotary_embedding_base": 10000,
            "mask_feature_min_masks": 0, "mask_time_min_masks": 2, "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "transformers_version": "4.19.0.dev0",
        },
        {**_SMALL, "codevector_dim": 32, "proj_codevector_dim": 32, "output_hidden_size": 32},
        {**_WAVEFORM, "processor_class": "Wav2Vec2Processor", "return_attention_mask": True},
        weights=BIN,
    ),
    "asapp/sew-tiny-100k": Layout(
        "SEWModel",
        {
            **_SPEECH, "model_type": "sew", "activation_dropout": 0.0, "final_dropout": 0.0, "layerdrop": 0.05,
            "conv_dim": [64, *[128] * 4, *[256] * 4, *[512] * 4],
            "conv_kernel": [10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
            "conv_stride": [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1], "hidden_size": 512, "intermediate_size": 2048,
            "mask_time_prob": 0.65, "num_attention_heads": 8, "num_conv_pos_embeddings": 31,
            "num_feat_extract_layers": 13, "squeeze_factor": 2, "use_weighted_layer_sum": False,
            "feature_extractor_type": "Wav2Vec2FeatureExtractor", "transformers_version": "4.12.0.dev0",
        },
        # the last convolution stays as wide as the layers: with another width there would be a projection
        {**_SMALL, "conv_dim": [8, *[16] * 8, *[32] * 4]},
        {**_WAVEFORM, "padding_value": 0},
        beside=(BIN,),
    ),
    "microsoft/unispeech-sat-base-plus": Layout(
        "UniSpeechSatForPreTraining",
        {
            **{key: value for key, value in _SPEECH.items() if key != "apply_spec_augment"},
            "model_type": "unispeech-sat", "activation_dropout": 0.0, "final_dropout": 0.0, "layerdrop": 0.1,
            "codevector_dim": 256, "feat_extract_dropout": 0.0, "feat_quantizer_dropout": 0.0, "num_clusters": 504,
            "num_codevector_groups": 2, "num_codevectors_per_group": 320, "num_negatives": 100,
            "proj_codevector_dim": 256, "transformers_version": "4.12.0.dev0",
        },
        {**_SMALL, "codevector_dim": 32, "proj_codevector_dim": 32},
        {**_WAVEFORM, "do_normalize": False, "padding_value": 0, "return_attention_mask": True},
        weights=BIN,
    ),
    "openai/whisper-small": Layout(
        "WhisperForConditionalGeneration",
        {
            "model_type": "whisper", "activation_dropout": 0.0, "activation_function": "gelu",
            "attention_dropout": 0.0, "begin_suppress_tokens": [220, 50257], "bos_token_id": 50257, "d_model": 768,
            "decoder_attention_heads": 12, "decoder_ffn_dim": 3072, "decoder_layerdrop": 0.0, "decoder_layers": 12,
            "decoder_start_token_id": 50258, "dropout": 0.0, "encoder_attention_heads": 12, "encoder_ffn_dim": 3072,
            "encoder_layerdrop": 0.0, "encoder_layers": 12, "eos_token_id": 50257,
            "forced_decoder_ids": [[1, 50259], [2, 50359], [3, 50363]], "init_std": 0.02, "is_encoder_decoder": True,
            "max_length": 448, "max_source_positions": 1500, "max_target_positions": 448, "num_hidden_layers": 12,
            "num_mel_bins": 80, "pad_token_id": 50257, "scale_embedding": False, "suppress_tokens": [1, 2, 7, 50362],
            "torch_dtype": "float32", "transformers_version": "4.27.0.dev0", "use_cache": True, "vocab_size": 51865,
        },
        {
            "d_model": 32, "decoder_attention_heads": 4, "decoder_ffn_dim": 64, "decoder_layers": 2,
            "encoder_attention_heads": 4, "encoder_ffn_dim": 64, "encoder_layers": 2, "num_hidden_layers": 2,
        },
        {
            "chunk_length": 30, "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80,
            "hop_length": 160, "mel_filters": _mel_filters(), "n_fft": 400, "n_samples": 480000,
            "nb_max_frames": 3000, "padding_side": "right", "padding_value": 0.0, "processor_class": "WhisperProcessor",
            "return_attention_mask": False, "sampling_rate": 16000,
        },
        beside=(BIN, "tf_model.h5", "flax_model.msgpack"),
        files={
            "added_tokens.json": {"<|af|>": 50327}, "merges.txt": "#version: 0.2\n",
            "normalizer.json": {"colour": "color"}, "special_tokens_map.json": {"bos_token": "<|endoftext|>"},
            "tokenizer.json": {"version": "1.0"},
            "tokenizer_config.json": {"tokenizer_class": "WhisperTokenizer", "model_max_length": 1024},
            "vocab.json": {"!": 0},
            "generation_config.json": {
                "alignment_heads": [[5, 3], [5, 9]], "begin_suppress_tokens": [220, 50257], "bos_token_id": 50257,
                "decoder_start_token_id": 50258, "eos_token_id": 50257, "forced_decoder_ids": [[1, None], [2, 50359]],
                "is_multilingual": True, "max_length": 448, "pad_token_id": 50257,
                "transformers_version": "4.31.0.dev0",
            },
        },
    ),
    "microsoft/resnet-18": _resnet(
        [2, 2, 2, 2], [64, 128, 256, 512], "basic", [1, 1, 1, 1], beside=(BIN, "tf_model.h5")
    ),
    "microsoft/resnet-50": _resnet(
        [3, 4, 6, 3], [256, 512, 1024, 2048], "bottleneck", [1, 1, 1, 1],
        beside=(BIN, "tf_model.h5", "flax_model.msgpack"),
    ),
    "microsoft/resnet-101": _resnet(
        [3, 4, 23, 3], [256, 512, 1024, 2048], "bottleneck", [1, 1, 2, 1], weights=BIN, beside=("tf_model.h5",)
    ),
    "facebook/convnext-tiny-224": Layout(
        "ConvNextForImageClassification",
        {
            "model_type": "convnext", "depths": [3, 3, 9, 3], "drop_path_rate": 0.0, "hidden_act": "gelu",
            "hidden_sizes": [96, 192, 384, 768], "image_size": 224, "initializer_range": 0.02, "layer_norm_eps": 1e-12,
            "layer_scale_init_value": 1e-06, "num_channels": 3, "num_stages": 4, "patch_size": 4,
            "torch_dtype": "float32", "transformers_version": "4.17.0.dev0",
        },
        {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 16, 24, 32]},
        _CONVNEXT_IMAGES,
        weights=BIN,
        beside=("tf_model.h5",),
        labels=IMAGENET,
    ),
    "google/vit-base-patch16-224": Layout(
        "ViTForImageClassification",
        {
            "model_type": "vit", "attention_probs_dropout_prob": 0.0, "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
            "hidden_size": 768, "image_size": 224, "initializer_range": 0.02, "intermediate_size": 3072,
            "layer_norm_eps": 1e-12, "num_attention_heads": 12, "num_channels": 3, "num_hidden_layers": 12,
            "patch_size": 16, "qkv_bias": True, "transformers_version": "4.13.0.dev0",
        },
        {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2},
        {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 224},
        beside=(BIN, "tf_model.h5", "flax_model.msgpack"),
        labels=IMAGENET,
    ),
    "google/efficientnet-b0": Layout(
        "EfficientNetForImageClassification",
        {
            "model_type": "efficientnet", "batch_norm_eps": 0.001, "batch_norm_momentum": 0.99,
            "depth_coefficient": 1.0, "depth_divisor": 8, "depthwise_padding": [], "drop_connect_rate": 0.2,
            "dropout_rate": 0.2, "expand_ratios": [1, 6, 6, 6, 6, 6, 6], "hidden_act": "swish", "hidden_dim": 1280,
            "image_size": 224, "in_channels": [32, 16, 24, 40, 80, 112, 192], "initializer_range": 0.02,
            "kernel_sizes": [3, 3, 5, 3, 5, 5, 3], "num_block_repeats": [1, 2, 2, 3, 3, 4, 1], "num_channels": 3,
            "num_hidden_layers": 64, "out_channels": [16, 24, 40, 80, 112, 192, 320], "pooling_type": "mean",
            "squeeze_expansion_ratio": 0.25, "strides": [1, 2, 2, 2, 1, 2, 1], "torch_dtype": "float32",
            "transformers_version": "4.27.0.dev0", "width_coefficient": 1.0,
        },
        {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
        {
            "crop_size": {"height": 289, "width": 289}, "do_center_crop": False, "do_normalize": True,
            "do_rescale": True, "do_resize": True, "image_mean": [0.485, 0.456, 0.406],
            "image_processor_type": "EfficientNetImageProcessor", "image_std": [0.47853944, 0.4732864, 0.47434163],
            "resample": 0, "rescale_factor": 0.00392156862745098, "rescale_offset": False,
            "size": {"height": 224, "width": 224},
        },
        weights=BIN,
        labels=IMAGENET,
    ),
    "google/mobilenet_v2_1.0_224": Layout(
        "MobileNetV2ForImageClassification",
        {
            "model_type": "mobilenet_v2", "classifier_dropout_prob": 0.2, "depth_divisible_by": 8,
            "depth_multiplier": 1.0, "expand_ratio": 6, "finegrained_output": True, "first_layer_is_expansion": True,
            "hidden_act": "relu6", "image_size": 224, "initializer_range": 0.02, "layer_norm_eps": 0.001,
            "min_depth": 8, "num_channels": 3, "output_stride": 32, "semantic_loss_ignore_index": 255,
            "tf_padding": True, "torch_dtype": "float32", "transformers_version": "4.25.0.dev0",
        },
        {"depth_multiplier": 0.25},
        {
            "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True,
            "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3,
            "image_processor_type": "MobileNetV2ImageProcessor", "image_std": [0.5] * 3, "resample": 2,
            "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 256},
        },
        beside=(BIN,),
        labels=("background", *IMAGENET),
    ),
}  # fmt: skip
"""Hub id → its layout."""
