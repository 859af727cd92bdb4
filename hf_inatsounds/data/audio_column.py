"""Whether the ``audio`` column decodes on this machine, and what it holds where it does not."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import datasets

from hf_inatsounds.schema import SAMPLING_RATE_HZ

logger = datasets.logging.get_logger(__name__)


@functools.lru_cache(maxsize=1)
def torchcodec_available() -> bool:
    """Whether torchcodec imports; it fails in several ways where FFmpeg or a fitting torch is missing."""
    try:
        import torchcodec  # noqa: F401
    except (ImportError, OSError, RuntimeError):
        return False
    return True


@functools.lru_cache(maxsize=1)
def column_decodes() -> bool:
    """Whether an ``Audio`` column of this ``datasets`` decodes here: by torchcodec, before version 4 by librosa."""
    if hasattr(datasets.config, "TORCHCODEC_AVAILABLE"):
        return bool(datasets.config.TORCHCODEC_AVAILABLE) and torchcodec_available()
    return all(importlib.util.find_spec(name) is not None for name in ("librosa", "soundfile"))


@functools.lru_cache(maxsize=1)
def _say_encoded_once() -> None:
    needed = "torchcodec with FFmpeg" if hasattr(datasets.config, "TORCHCODEC_AVAILABLE") else "librosa"
    logger.warning(
        f"{needed} is not installed: the audio column is handed out encoded, as {{'bytes', 'path'}}; "
        "hf_inatsounds.audio.read_window decodes it."
    )


def encoded_where_undecodable(loaded: Any) -> Any:
    """``loaded``, its ``audio`` column handed out encoded where ``datasets`` cannot decode it."""
    columns = loaded.column_names
    names = set().union(*columns.values()) if isinstance(columns, dict) else set(columns or ())
    if "audio" not in names or column_decodes():
        return loaded
    _say_encoded_once()
    return loaded.cast_column("audio", datasets.Audio(sampling_rate=SAMPLING_RATE_HZ, decode=False))
