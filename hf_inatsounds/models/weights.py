"""Weights of a checkpoint: which of its files hold them, and reading those without running anything."""

from __future__ import annotations

import json
import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hf_inatsounds.errors import CheckpointError

FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights are looked for, the first that is there."""

_POINTER = b"version https://git-lfs"


def weights_file(names: Collection[str]) -> str | None:
    """The file that leads to a checkpoint's weights, of the names in its folder: safetensors before pickles.

    >>> weights_file({"config.json", "tf_model.h5", "pytorch_model.bin", "model.safetensors"})
    'model.safetensors'
    """
    return next((name for name in FILES if name in names), None)


def shards(index: Path) -> list[str]:
    """The files that an index of a sharded checkpoint names.

    Raises:
        CheckpointError: if it is malformed, or names a file elsewhere.
    """
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError("malformed index of the weights", where=index, found=error) from error
    suffix = ".safetensors" if index.name == FILES[1] else ".bin"
    for name in names:
        if Path(name).name != name or not name.endswith(suffix):
            raise CheckpointError("malformed index of the weights", where=index, found=name, expected=f"*{suffix}")
    return names


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """All weights of a checkpoint's folder, under the names that they have in its files.

    Pickles (``pytorch_model.bin``) are read by ``torch.load(weights_only=True)``, which makes tensors and runs nothing.

    Raises:
        CheckpointError: if there are none, a shard is missing, or a file is damaged or holds more than tensors.
    """
    names = {path.name for path in folder.iterdir()}
    first = weights_file(names)
    if first is None:
        raise no_weights(folder, names)
    files = shards(folder / first) if first.endswith(".index.json") else [first]
    missing = [name for name in files if name not in names]
    if missing:
        raise CheckpointError(
            "a part of the weights is missing", where=folder / missing[0],
            found=f"{len(files) - len(missing)} of {len(files)} files of {first}",
        )  # fmt: skip
    weights: dict[str, torch.Tensor] = {}
    for name in files:
        weights |= _read(folder / name)
    return weights


def no_weights(where: object, names: Collection[str]) -> CheckpointError:
    """The error for a checkpoint whose files hold no weights that can be read here."""
    held = [
        name for name in sorted(names) if name.endswith((".safetensors", ".bin", ".h5", ".msgpack", ".onnx", ".pt"))
    ]
    return CheckpointError(
        "no weights", where=where, found=", ".join(held) or "none of the usual files",
        expected="model.safetensors or pytorch_model.bin, whole or in shards with an index",
    )  # fmt: skip


def _read(path: Path) -> dict[str, torch.Tensor]:
    with open(path, "rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise CheckpointError(
                "a Git LFS pointer instead of weights", where=path, fix="Run git lfs pull, or load it by its Hub id."
            )
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            "refused: the file is no plain list of tensors, and reading it could run code", where=path,
            found=str(error).split("\n")[0], expected="tensors alone", fix="Nothing of it was run.",
        ) from error  # fmt: skip
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            "damaged weights", where=path, found=error, fix="Fetch or copy the file again."
        ) from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        kinds = type(found).__name__ if not isinstance(found, dict) else ", ".join(list(map(str, found))[:3])
        raise CheckpointError("no plain list of weights", where=path, found=kinds, expected="names and tensors")
    return found


def check_finite(model: torch.nn.Module, where: object) -> None:
    """Refuse weights that are no numbers.

    Raises:
        CheckpointError: naming the first tensor that holds NaN or an infinity.
    """
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or torch.isfinite(tensor.sum()):  # the sum is quick, and enough nearly always
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            raise CheckpointError(
                "weights that are no numbers", where=where, found=f"{bad} of {tensor.numel()} values of {name}",
                expected="finite values", fix="The run that made it overflowed; use an earlier checkpoint.",
            )  # fmt: skip
