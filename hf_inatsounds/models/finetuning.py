"""What of a model learns, and how fast: freezing, layer-wise rates, LoRA; one mechanism for all families."""

from __future__ import annotations

import copy
import types
from typing import Any

import torch
from torch import nn

from hf_inatsounds.errors import RecipeError
from hf_inatsounds.models.heads import classification_head


def body_layers(model: nn.Module) -> nn.ModuleList:
    """The model's list of layers (a ResNet's stages): of all its module lists the one with most parameters.

    Raises:
        RecipeError: if it has none.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise RecipeError("no list of layers in this model", where="freeze, layer_decay", found=type(model).__name__)
    return max(lists, key=lambda one: (sum(weights.numel() for weights in one.parameters()), len(one)))


def parameter_depths(model: nn.Module) -> dict[str, int]:
    """How deep each parameter is: 0 before the layers, 1 … n in them, n + 1 after them.

    Parameters outside the layers are ordered by registration, except those that a family registers out of order.
    """
    layers = body_layers(model)
    inside = {id(weights): i for i, layer in enumerate(layers, start=1) for weights in layer.parameters()}
    depths, after = {}, False
    for name, weights in model.named_parameters():
        depth = inside.get(id(weights))
        after = after or depth is not None
        depths[name] = depth if depth is not None else (len(layers) + 1 if after else 0)
    return depths | {name: len(layers) + 1 if late else 0 for name, late in _out_of_order(model).items()}


def _out_of_order(model: Any) -> dict[str, bool]:
    """Parameters registered on the wrong side of the layers, and whether they belong after them."""
    late, early = _ends_in_norm(model.config), model.config.model_type == "sew-d"
    found = {}
    for name, _ in model.named_parameters():
        if late and ".encoder.layer_norm." in name:
            found[name] = True
        # relative positions, which all layers look up
        elif early and (".encoder.encoder.LayerNorm." in name or ".rel_embeddings." in name):
            found[name] = False
    return found


def _ends_in_norm(config: Any) -> bool:
    """Whether ``encoder.layer_norm`` runs after the layers, which then begin with norms of their own."""
    return config.model_type == "wav2vec2-conformer" or bool(getattr(config, "do_stable_layer_norm", False))


def freeze(model: Any, what: str) -> int:
    """Keep part of a model as it is: its parameters get no gradient, its norms and dropouts stay in evaluation.

    Args:
        model: a transformers classifier.
        what: "none"; "encoder", all but the head (the classifier, the projector before it, and the weights of a
            weighted sum of layers); or a number n, what comes before the layers and the first n of them.

    Returns:
        How many parameters are frozen.

    Raises:
        RecipeError: if ``what`` is none of these, or n exceeds the layers.
    """
    if what == "none":
        return 0
    frozen = set(_encoder(model) if what == "encoder" else _first_layers(model, what))
    for name, weights in model.named_parameters():
        if name in frozen:
            weights.requires_grad_(False)
    _hold(model)
    return sum(weights.numel() for name, weights in model.named_parameters() if name in frozen)


def _hold(model: nn.Module) -> None:
    """Keep modules without a trainable parameter in evaluation: their statistics stay, their dropouts are off."""
    for module in model.modules():
        weights = list(module.parameters())
        if weights and not any(one.requires_grad for one in weights):
            module.train = types.MethodType(_stay_in_evaluation, module)  # type: ignore[method-assign]
            module.eval()


def _encoder(model: nn.Module) -> list[str]:
    """All parameters of the part that holds the layers, but for the classification head's."""
    layers = body_layers(model)
    encoder = next(part for part in model.children() if any(one is layers for one in part.modules()))
    inside = {id(weights) for weights in encoder.parameters()}
    head = {id(weights) for weights in classification_head(model).parameters()}
    return [name for name, weights in model.named_parameters() if id(weights) in inside - head]


def _first_layers(model: Any, what: str) -> list[str]:
    layers = len(body_layers(model))
    if not str(what).isdecimal() or int(what) > layers:
        raise RecipeError(
            "bad value in the recipe",
            where="freeze",
            found=repr(what),
            expected=f"none, encoder, or a number of layers up to {layers}",
        )
    return [name for name, depth in parameter_depths(model).items() if depth <= int(what)]


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    del mode
    return nn.Module.train(module, False)


def unused_parameters(model: Any) -> list[str]:
    """Names of parameters that no forward pass of a model with this config can use.

    They never get a gradient, and DistributedDataParallel waits for one from every parameter that it is given.
    """
    config = model.config
    masks = getattr(config, "apply_spec_augment", True) and getattr(config, "mask_time_prob", 0.0) > 0
    unused = [] if masks else [".masked_spec_embed"]
    if config.model_type == "wav2vec2-conformer":  # a relic of Wav2Vec2: it has positions of its own
        unused.append(".pos_conv_embed.")
    if getattr(config, "use_weighted_layer_sum", False):  # the sum is of the layers' outputs, before what follows them
        unused += [".encoder.layer_norm."] if _ends_in_norm(config) else []
        unused += [".encoder.upsample."] if config.model_type in ("sew", "sew-d") else []
    return [name for name, _ in model.named_parameters() if any(part in name for part in unused)]


def parameter_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Parameter groups of an optimiser: ``rate(depth) = learning_rate · layer_decay^(n + 1 - depth)``.

    Vectors (biases, norms) have no weight decay, as transformers' Trainer has it.

    Args:
        model: a classifier; its frozen parameters are left out.
        learning_rate: of what comes after the layers.
        weight_decay: of matrices.
        layer_decay: in (0, 1]; 1 for one rate.

    Source: Clark 2020 (ELECTRA), appendix; Bao 2022 (BEiT).
    """
    depths = parameter_depths(model)
    top = len(body_layers(model)) + 1
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, weights in model.named_parameters():
        if weights.requires_grad:
            decays = weights.ndim > 1
            rate = learning_rate * layer_decay ** (top - depths[name])
            made = {"params": [], "lr": rate, "weight_decay": weight_decay if decays else 0.0}
            groups.setdefault((depths[name], decays), made)["params"].append(weights)
    return list(groups.values())


def add_lora(model: Any, rank: int, *, alpha: float | None = None) -> int:
    """Train low-rank changes of the linear layers in the body, and what comes after the encoder, alone.

    Args:
        model: a transformers classifier; changed in place, and still of its own class.
        rank: of the changes.
        alpha: their scale is ``alpha / rank``; None for ``2 · rank``.

    Returns:
        How many parameters learn.

    Raises:
        RecipeError: if peft is missing, or the body has no linear layers, as convolutional networks have none.

    Source: Hu 2022.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise RecipeError("LoRA needs peft", where="lora_rank", fix="pip install 'hf-inatsounds[lora]'") from error
    inside = {id(module) for module in body_layers(model).modules()}
    targets = [
        name for name, m in model.named_modules()
        if isinstance(m, nn.Linear) and id(m) in inside and not _read_past(model.config, name)
    ]  # fmt: skip
    if not targets or model.config.model_type in ("resnet", "efficientnet", "mobilenet_v2"):
        raise RecipeError(
            "LoRA is for transformers",
            where="lora_rank",
            found=f"no linear layers in the body of a {model.config.model_type}",
            expected="0",
        )
    encoder = set(_encoder(model))
    for name, weights in model.named_parameters():
        if name in encoder:
            weights.requires_grad_(False)
    trained = {id(weights) for weights in model.parameters() if weights.requires_grad}
    config = LoraConfig(r=rank, lora_alpha=alpha or 2 * rank, target_modules=targets, lora_dropout=0.0)
    inject_adapter_in_model(config, model)
    for name, weights in model.named_parameters():
        weights.requires_grad_(id(weights) in trained or "lora_" in name)
    _hold(model)
    return sum(weights.numel() for weights in model.parameters() if weights.requires_grad)


def _read_past(config: Any, name: str) -> bool:
    """Whether a linear layer's weights are read without running it: what LoRA adds there would do nothing."""
    return config.model_type == "wavlm" and name.endswith(("q_proj", "k_proj", "v_proj", "attention.out_proj"))


def has_lora(model: nn.Module) -> bool:
    """Whether ``add_lora`` changed the model and ``merge_lora`` has not yet."""
    return any("lora_A" in name for name, _ in model.named_modules())


def merged(model: Any) -> Any:
    """The model as it is saved: itself, or, with LoRA, a copy whose changes are merged into its weights."""
    if not has_lora(model):
        return model
    native = copy.deepcopy(model)
    merge_lora(native)
    return native


@torch.no_grad()
def merge_lora(model: nn.Module) -> None:
    """Add the low-rank changes to the weights and be what the model was: its checkpoint is native again."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "lora_A") and hasattr(module, "merge"):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, module.get_base_layer())
    for attribute in ("_hf_peft_config_loaded", "peft_config"):
        if attribute in vars(model):
            delattr(model, attribute)
