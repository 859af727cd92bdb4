"""The table of presets: one entry each, values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """One model by name.

    Attributes:
        family: a key of ``FAMILIES``: which classes it is made of.
        about: what it is, in a few words.
        config: values of its config that differ from transformers' own.
        feature_extractor: values of its feature extractor that do.
    """

    family: str
    about: str
    config: dict[str, Any] = field(default_factory=dict)
    feature_extractor: dict[str, Any] = field(default_factory=dict)


# What the small transformers share: two to four layers of some 100 dimensions learn from hundreds of recordings.
_SMALL = {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 96, "intermediate_size": 192}
_SMALL_CONVOLUTIONS: dict[str, Any] = {
    "conv_dim": [48, 64, 96, 96],
    "conv_kernel": [20, 8, 8, 4],
    "conv_stride": [10, 4, 4, 2],
    "num_conv_pos_embeddings": 32,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 96,
    "hidden_dropout": 0.1,
    "layerdrop": 0.0,
    "mask_time_prob": 0.0,
}
_SMALL_LAYER_NORM = {**_SMALL, **_SMALL_CONVOLUTIONS, "feat_extract_norm": "layer"}
_SMALL_WAV2VEC2 = {**_SMALL_LAYER_NORM, "num_feat_extract_layers": 4, "do_stable_layer_norm": True}
# SEW halves the frames once more, before its transformer
_SMALL_SEW = {**_SMALL_LAYER_NORM, "squeeze_factor": 2}
# The image of small models: as wide as it is to keep moments apart, for a sixth of 224 x 224's pixels.
_SMALL_IMAGE: dict[str, Any] = {"image_size": [64, 128]}

PRESETS: dict[str, Preset] = {
    "ast-tiny": Preset(
        "ast",
        "an AST of 0.7 M parameters, for two CPU cores",
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "hidden_dropout_prob": 0.1,
            "layer_norm_eps": 1e-6,
            # one patch spans all mel bands: from scratch, tokens that are moments in time learn far quicker than
            # square ones (docs/recipes.md), as the AST paper found for models without ImageNet pre-training
            "num_mel_bins": 32,
            "patch_size": 32,
            "frequency_stride": 32,
            "time_stride": 8,
        },
    ),
    "wav2vec2-tiny": Preset("wav2vec2", "a Wav2Vec2 of 0.4 M parameters, for two CPU cores", _SMALL_WAV2VEC2),
    "hubert-tiny": Preset("hubert", "a HuBERT of 0.4 M parameters, for two CPU cores", _SMALL_WAV2VEC2),
    "wavlm-tiny": Preset("wavlm", "a WavLM of 0.4 M parameters, for two CPU cores", _SMALL_WAV2VEC2),
    "data2vec-tiny": Preset(
        "data2vec",
        "a data2vec-audio of 0.3 M parameters, for two CPU cores",
        {**_SMALL, **_SMALL_CONVOLUTIONS, "conv_pos_kernel_size": 9, "num_conv_pos_embeddings": 2},
    ),
    "unispeech-tiny": Preset("unispeech", "a UniSpeech of 0.4 M parameters, for two CPU cores", _SMALL_WAV2VEC2),
    "unispeech-sat-tiny": Preset(
        "unispeech-sat", "a UniSpeech-SAT of 0.4 M parameters, for two CPU cores", _SMALL_WAV2VEC2
    ),
    "sew-tiny": Preset("sew", "a SEW of 0.4 M parameters, for two CPU cores", _SMALL_SEW),
    "sew-d-tiny": Preset(
        "sew-d",
        "a SEW-D of 0.4 M parameters, for two CPU cores",
        # its attention is DeBERTa's; it has no layerdrop
        {key: value for key, value in _SMALL_SEW.items() if key != "layerdrop"},
    ),
    "wav2vec2-conformer-tiny": Preset(
        "wav2vec2-conformer",
        "a Wav2Vec2-Conformer of 0.5 M parameters, for two CPU cores",
        {**_SMALL_LAYER_NORM, "conv_depthwise_kernel_size": 15},
    ),
    "wav2vec2-bert-tiny": Preset(
        "wav2vec2-bert",
        "a Wav2Vec2-BERT of 0.3 M parameters on log-mel frames, for two CPU cores",
        {
            **_SMALL,
            "classifier_proj_size": 96,
            "conv_depthwise_kernel_size": 15,
            "hidden_dropout": 0.1,
            "layerdrop": 0.0,
            "mask_time_prob": 0.0,
            "use_intermediate_ffn_before_adapter": False,
            "add_adapter": False,
            "apply_spec_augment": False,
        },
    ),
    "whisper-tiny": Preset(
        "whisper",
        "a Whisper encoder of 0.2 M parameters, for two CPU cores",
        {
            "d_model": 96,
            "encoder_layers": 2,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 192,
            "num_mel_bins": 64,
            "classifier_proj_size": 96,
            "dropout": 0.1,
            # the decoder is not part of the classifier; its config is small so that nobody thinks it is
            "decoder_layers": 1,
            "decoder_attention_heads": 1,
            "decoder_ffn_dim": 96,
        },
    ),
    "resnet-tiny": Preset(
        "resnet",
        "a ResNet of 0.7 M parameters on small spectrogram images, for two CPU cores",
        {"embedding_size": 24, "hidden_sizes": [24, 48, 96, 192], "depths": [1, 1, 1, 1], "layer_type": "basic"},
        _SMALL_IMAGE,
    ),
    "resnet-18": Preset(
        "resnet",
        "ResNet-18, a backbone of the paper",
        {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic"},
    ),
    "resnet-50": Preset("resnet", "ResNet-50, a backbone of the paper"),
    "resnet-101": Preset("resnet", "ResNet-101, a backbone of the paper", {"depths": [3, 4, 23, 3]}),
    "vit-tiny": Preset(
        "vit",
        "a ViT of 0.6 M parameters whose patches are moments of the whole spectrum, for two CPU cores",
        {
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "hidden_dropout_prob": 0.1,
            "patch_size": [64, 4],
        },
        _SMALL_IMAGE,
    ),
    "vit-b16": Preset("vit", "ViT-B/16, a backbone of the paper"),
    "efficientnet-tiny": Preset(
        "efficientnet",
        "an EfficientNet of 0.1 M parameters on small spectrogram images, for two CPU cores",
        {
            "width_coefficient": 0.5,
            "depth_coefficient": 0.5,
            "hidden_dim": 640,
            "in_channels": [32, 16, 24, 40, 80],
            "out_channels": [16, 24, 40, 80, 112],
            "kernel_sizes": [3, 3, 5, 3, 5],
            "strides": [1, 2, 2, 2, 1],
            "num_block_repeats": [1, 2, 2, 3, 2],
            "expand_ratios": [1, 4, 4, 4, 4],
            "depthwise_padding": [],
            "dropout_rate": 0.1,
            "drop_connect_rate": 0.0,
        },
        _SMALL_IMAGE,
    ),
    "efficientnet-b0": Preset(
        "efficientnet",
        "EfficientNet-B0",
        {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "dropout_rate": 0.2},
    ),
    "efficientnet-b1": Preset(
        "efficientnet",
        "EfficientNet-B1",
        {"width_coefficient": 1.0, "depth_coefficient": 1.1, "hidden_dim": 1280, "dropout_rate": 0.2},
        {"image_size": 240},
    ),
    "convnext-tiny": Preset(
        "convnext",
        "a ConvNeXT of 0.7 M parameters on small spectrogram images, for two CPU cores",
        {
            "hidden_sizes": [24, 48, 96, 192],
            "depths": [1, 1, 3, 1],
            "drop_path_rate": 0.05,
            # 1e-6 is for training of hundreds of epochs: blocks that are hardly there learn late
            "layer_scale_init_value": 0.1,
        },
        _SMALL_IMAGE,
    ),
    "mobilenet-tiny": Preset(
        "mobilenet",
        "a MobileNet-V2 of 0.3 M parameters on small spectrogram images, for two CPU cores",
        {"depth_multiplier": 0.35, "finegrained_output": False, "classifier_dropout_prob": 0.1, "tf_padding": False},
        _SMALL_IMAGE,
    ),
    "mobilenet-v2": Preset("mobilenet", "MobileNet-V2", {"tf_padding": False}),
}
"""Preset → what it is made of. Anything else is a checkpoint: a folder, or a Hub model id."""
