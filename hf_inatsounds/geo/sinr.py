"""The published range prior: a SINR network, from place to presence of each taxon."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional

from hf_inatsounds.errors import GeoError

Array = np.ndarray[Any, np.dtype[Any]]


class SinrPrior:
    """Presence of species at a place, by a SINR network.

    ``p = σ(E f(sin πλ, sin πφ, cos πλ, cos πφ))`` with λ = longitude / 180 and φ = latitude / 90: a linear layer to
    the hidden size, and residual layers of two linear ones each, all with ReLU. Classes that the network lacks have 1.

    Args:
        weights: the checkpoint's state dictionary.
        columns: (C,) the network's output of each class, None where it has none.

    Source: Cole et al. 2023, "Spatial implicit neural representations for global-scale species mapping"; the authors
    of iNatSounds mask classes at a probability of 0.1 or less.
    """

    default_mode: ClassVar[str] = "mask"

    def __init__(self, weights: dict[str, torch.Tensor], columns: Sequence[int | None]) -> None:
        self._weights = {name: tensor.float() for name, tensor in weights.items()}
        self._depth = sum(1 for name in weights if name.endswith(".w1.weight"))
        known = [c for c, column in enumerate(columns) if column is not None]
        self._known = np.array(known, np.int64)
        self._embedding = self._weights["class_emb.weight"][[columns[c] for c in known]]
        self.n_classes = len(columns)

    @property
    def known(self) -> Array:
        """(C,) bool: classes that the network has."""
        found = np.zeros(self.n_classes, bool)
        found[self._known] = True
        return found

    @classmethod
    def from_checkpoint(
        cls, checkpoint: str | Path, taxon_names: Mapping[Any, str], categories: Sequence[Any]
    ) -> SinrPrior:
        """Read a checkpoint in the published layout; nothing in it but tensors and numbers is unpickled.

        Args:
            checkpoint: a file with ``state_dict`` and ``params["class_to_taxa"]``.
            taxon_names: iNaturalist's taxon id → scientific name.
            categories: the classes in label order: names, or mappings with ``name`` (and ``id``, the label).

        Raises:
            GeoError: if the file is missing or not of that layout.
        """
        names = _names(categories)
        try:
            loaded = torch.load(checkpoint, map_location="cpu", weights_only=True)
            weights, taxa = loaded["state_dict"], loaded["params"]["class_to_taxa"]
            by_id = {int(key): str(name) for key, name in taxon_names.items()}
            output = {by_id[int(taxon)]: i for i, taxon in enumerate(taxa) if int(taxon) in by_id}
            prior = cls(weights, [output.get(name) for name in names])
            prior(np.zeros(1), np.zeros(1))
        except (
            OSError, pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, RuntimeError, IndexError,
            AttributeError, struct.error, RecursionError,
        ) as error:  # fmt: skip
            raise GeoError(
                "no usable SINR checkpoint", where=checkpoint, found=f"{type(error).__name__}: {error}",
                expected="state_dict and params.class_to_taxa, as published",
            ) from error  # fmt: skip
        return prior

    @torch.inference_mode()
    def __call__(self, latitude: Any, longitude: Any) -> Any:
        """Probability of each class at each place.

        Args:
            latitude: (B,) degrees in [-90, 90], array or tensor.
            longitude: (B,) degrees in [-180, 180].

        Returns:
            (B, C) float32 in [0, 1], 1 for classes that the network lacks; an array, or a tensor for tensors.
        """
        lat = torch.as_tensor(np.atleast_1d(np.asarray(latitude, np.float64))).float() / 90.0
        lon = torch.as_tensor(np.atleast_1d(np.asarray(longitude, np.float64))).float() / 180.0
        angles = torch.stack([lon, lat], dim=1) * torch.pi
        features = self._features(torch.cat([angles.sin(), angles.cos()], dim=1))
        presence = torch.ones(len(features), self.n_classes)
        presence[:, self._known.tolist()] = torch.sigmoid(features @ self._embedding.T)
        return presence if isinstance(latitude, torch.Tensor) else presence.numpy()

    def likelihood(self, latitude: Array, longitude: Array) -> Array:
        """What a soft combination multiplies scores by: the presence itself."""
        found: Array = self(latitude, longitude)
        return found

    def _features(self, x: torch.Tensor) -> torch.Tensor:
        w = self._weights
        x = functional.relu(functional.linear(x, w["feats.0.weight"], w["feats.0.bias"]))
        for i in range(2, 2 + self._depth):
            inner = functional.relu(functional.linear(x, w[f"feats.{i}.w1.weight"], w[f"feats.{i}.w1.bias"]))
            x = x + functional.relu(functional.linear(inner, w[f"feats.{i}.w2.weight"], w[f"feats.{i}.w2.bias"]))
        return x


def _names(categories: Sequence[Any]) -> list[str]:
    """Names in label order."""
    if all(isinstance(one, str) for one in categories):
        return list(categories)
    ordered = sorted(categories, key=lambda one: one.get("id", 0)) if categories else []
    return [str(one["name"]) for one in ordered]
