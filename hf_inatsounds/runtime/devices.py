"""Where a model runs and in which precision: the one place that chooses.

The order is CUDA, XPU, MPS, CPU. A name that is asked for is taken or refused, never replaced by another device.
"""

from __future__ import annotations

import contextlib
import os

import torch

from hf_inatsounds.errors import InatSoundsError

ACCELERATORS = ("cuda", "xpu", "mps")
"""Kinds of devices besides the CPU, the preferred ones first."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions of inference by name."""


def is_available(kind: str) -> bool:
    """Whether this machine has a device of a kind, and this torch can use it."""
    if kind == "cuda":
        return torch.cuda.is_available()
    if kind == "xpu":
        return torch.xpu.is_available()
    return kind == "cpu" or (kind == "mps" and torch.backends.mps.is_available())


def device_count(kind: str) -> int:
    """Devices of a kind; 1 for a CPU, which all processes share."""
    if not is_available(kind):
        return 0
    counts = {"cuda": torch.cuda.device_count, "xpu": torch.xpu.device_count}
    return counts[kind]() if kind in counts else 1


def choose_device(wanted: str | torch.device | None = None) -> torch.device:
    """The device to run on.

    Args:
        wanted: "cpu", "cuda", "cuda:1", "xpu", "mps"; None or "auto" for the best that is here.

    Returns:
        The device, on this process's own GPU where a launcher started several processes.

    Raises:
        InatSoundsError: if there is no such device, or the name is none.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if wanted is None or wanted == "auto":
        kind = next((one for one in ACCELERATORS if is_available(one)), "cpu")
        return own_device(kind)
    expected = f"auto, cpu, {', '.join(ACCELERATORS)}, with a number where there are several (cuda:1)"
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise InatSoundsError("no such device", where="device", found=repr(str(wanted)), expected=expected) from error
    if device.type not in ("cpu", *ACCELERATORS):
        raise InatSoundsError("no such device", where="device", found=repr(str(wanted)), expected=expected)
    count = device_count(device.type)
    if (device.index or 0) >= count:
        here = ", ".join(one for one in (*ACCELERATORS, "cpu") if is_available(one))
        found = f"{str(wanted)!r} where this machine and torch {torch.__version__} have {here}"
        raise InatSoundsError(
            "the device is not there", where="device", found=found, fix="Leave it out, or name another."
        )
    return own_device(device.type) if device.index is None else device


def own_device(kind: str) -> torch.device:
    """The device of a kind that is this process's own: of several GPUs the one with its number.

    >>> own_device("cpu")
    device(type='cpu')
    """
    rank = os.environ.get("LOCAL_RANK")
    if rank is None or kind not in ("cuda", "xpu"):
        return torch.device(kind)
    return torch.device(kind, int(rank) % max(device_count(kind), 1))


def device_name(device: torch.device) -> str:
    """What the device is, for records: a GPU's model, or the kind.

    >>> device_name(torch.device("cpu"))
    'cpu'
    """
    names = {"cuda": torch.cuda.get_device_name, "xpu": torch.xpu.get_device_name}
    return names[device.type](device) if device.type in names else device.type


def frontend_device(device: torch.device) -> torch.device:
    """Where spectra for a model on ``device`` are computed: beside it, or on the CPU where it has no float64.

    Without float64 a frontend differs from its feature extractor by more than 1e-4 (docs/decisions/0002).

    >>> frontend_device(torch.device("mps"))
    device(type='cpu')
    """
    return torch.device("cpu") if lacks_float64(device) else device


def lacks_float64(device: torch.device) -> bool:
    """Whether the device has no float64: MPS, and Intel's smaller GPUs."""
    if device.type == "xpu":
        return not getattr(torch.xpu.get_device_properties(device), "has_fp64", True)
    return device.type == "mps"


def choose_dtype(name: str) -> torch.dtype:
    """The precision of that name.

    Raises:
        InatSoundsError: if it is none of ``DTYPES``.

    >>> choose_dtype("bfloat16")
    torch.bfloat16
    """
    if name not in DTYPES:
        raise InatSoundsError("no such precision", where="dtype", found=repr(name), expected=", ".join(DTYPES))
    return DTYPES[name]


def dtype_name(dtype: torch.dtype) -> str:
    """The name of a precision, for records.

    >>> dtype_name(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def precision(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[object]:
    """What a forward pass in ``dtype`` runs under: autocast, as in training; float32 as the model is.

    The weights stay in float32; matrix products and convolutions are computed in ``dtype``, norms and softmax in
    float32. So a validation under ``bf16: true`` and ``evaluate --dtype bfloat16`` are one computation.
    """
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)
