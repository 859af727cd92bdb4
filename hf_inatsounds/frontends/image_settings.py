"""Settings of spectrogram images: their variant, their size, and the file that transformers' image processors read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from hf_inatsounds.errors import CheckpointError, RecipeError
from hf_inatsounds.files import write_json
from hf_inatsounds.frontends.base import Precision, check_precision
from hf_inatsounds.frontends.overrides import check_keys
from hf_inatsounds.frontends.settings import check_settings

WINDOW_SAMPLES = 512
HOP_SAMPLES = 128
PROCESSOR_FILE = "preprocessor_config.json"
_KEY = "inatsounds_spectrogram"

Variant = Literal["raw", "scaled"]


@dataclass(frozen=True)
class _Scale:
    """How a variant scales samples, clips decibels, and what its images' statistics are."""

    full_scale: float
    lowest_db: float
    highest_db: float
    mean: float
    std: float


SCALES: dict[str, _Scale] = {
    "raw": _Scale(32_768.0, -50.0, 50.0, 0.6569, 0.1786),
    "scaled": _Scale(32_768.0 / 32_767.0, -100.0, 0.0, 0.3342, 0.1529),
}
"""Variant → what it does to samples in [-1, 1], where int16 samples were divided by 32,768."""


@dataclass(frozen=True)
class SpectrogramImageExtractor:
    """Settings of a ``SpectrogramImageFrontend``, saved so that transformers' image processors read them too.

    ``preprocessor_config.json`` says how a spectrogram image (128 × ``n_frames``, grey) becomes ``pixel_values``
    in the keys of ``ViTImageProcessor``, and under one key of our own how a recording becomes that image.

    Args:
        variant: "raw" (int16 samples as they are, -50 … 50 dB) or "scaled" (samples in [-1, 1], -100 … 0 dB).
        n_frames: columns of the spectrogram; 512 are 2.99 s.
        image_size: height and width that the model sees, in pixels; one number for a square.
        sampling_rate: in Hz.
        precision: what the spectrum is computed in.

    Raises:
        RecipeError: if a value is out of range.

    >>> SpectrogramImageExtractor("scaled", image_size=64).size
    (64, 64)
    """

    variant: Variant = "raw"
    n_frames: int = 512
    image_size: int | tuple[int, int] = 224
    sampling_rate: int = 22_050
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            raise RecipeError("unknown variant", where="variant", found=repr(self.variant), expected="raw or scaled")
        if isinstance(self.image_size, list):
            object.__setattr__(self, "image_size", tuple(self.image_size))
        if self.n_frames < 1 or len(self.size) != 2 or min(self.size) < 1 or self.sampling_rate < 1:
            raise RecipeError("bad spectrogram image", where="feature_extractor", found=self, expected="sizes above 0")
        check_precision(self.precision)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the model's input, in pixels."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @classmethod
    def of(cls, values: dict[str, Any], *, where: object) -> SpectrogramImageExtractor:
        """From keys and values; an unknown key or a value of the wrong type is a RecipeError."""
        check_keys(values, [one.name for one in fields(cls)], where=f"{where}", of="a spectrogram image")
        check_settings(cls, values)
        return cls(**values)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``preprocessor_config.json`` into ``folder``."""
        scale, (height, width) = SCALES[self.variant], self.size
        write_json(
            Path(folder) / PROCESSOR_FILE,
            {
                "image_processor_type": "ViTImageProcessor",
                "do_resize": True,
                "size": {"height": height, "width": width},
                "resample": 2,
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "image_mean": [scale.mean] * 3,
                "image_std": [scale.std] * 3,
                _KEY: asdict(self),
            },
        )

    @staticmethod
    def is_in(folder: str | Path) -> bool:
        """Whether ``save_pretrained`` wrote what ``folder`` holds."""
        path = Path(folder) / PROCESSOR_FILE
        return path.exists() and _KEY in path.read_text(encoding="utf-8")

    @classmethod
    def from_pretrained(cls, folder: str | Path, **overrides: Any) -> SpectrogramImageExtractor:
        """Read what ``save_pretrained`` wrote; settings that ``overrides`` names are replaced.

        Raises:
            RecipeError: an override that it does not have.
            CheckpointError: if the folder's images are not spectrograms, or the file is malformed.
        """
        check_settings(cls, overrides)
        path = Path(folder) / PROCESSOR_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))[_KEY]
            return cls.of({**values, **overrides}, where=PROCESSOR_FILE)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                "no spectrogram settings",
                where=path,
                found=f"{type(error).__name__}: {error}",
                expected="an image classifier that train wrote",
            ) from error


def whole_columns(frames: int) -> int:
    """Columns of an image of so many frames: a multiple of 8 where there are so many, up to 7 at the end left out.

    >>> whole_columns(513), whole_columns(5)
    (512, 5)
    """
    return frames // 8 * 8 or frames


def longest_samples(columns: int) -> int:
    """The most samples whose frames, rounded by :func:`whole_columns`, are at most ``columns``.

    >>> longest_samples(512)
    66943
    """
    frames = columns // 8 * 8 + 7 if columns >= 8 else columns
    return WINDOW_SAMPLES + frames * HOP_SAMPLES - 1
