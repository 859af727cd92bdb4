"""Attentive probe: learned queries pool a clip's tokens before a linear layer; the model itself stays frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from hf_inatsounds.downstream.descent import descend
from hf_inatsounds.frontends.base import real_samples

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class AttentiveSettings:
    """How an attentive probe is trained.

    Attributes:
        queries: learned queries, whose results are averaged.
        epochs: passes over the clips.
        batch_size: clips per step.
        learning_rate: peak of a one-cycle schedule.
        weight_decay: AdamW's.
        dropout: of the pooled features.
    """

    queries: int = 4
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.1


class AttentivePool(nn.Module):
    """``logits = W · mean_q Σ_t softmax_t(q · k_t / √D) v_t``, tokens standardised first.

    Args:
        mean: (D,) of the training tokens.
        std: (D,) of the training tokens.
        n_classes: C.
        settings: number of queries, dropout.
    """

    def __init__(self, mean: torch.Tensor, std: torch.Tensor, n_classes: int, settings: AttentiveSettings) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        width = len(mean)
        self.queries = nn.Parameter(torch.randn(settings.queries, width) * width**-0.5)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(width, n_classes)

    def forward(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Logits.

        Args:
            tokens: (B, T, D).
            real: (B, T) bool, which of them there are.

        Returns:
            (B, C).
        """
        tokens = (tokens - self.mean) / self.std
        weights = torch.einsum("qd,btd->bqt", self.queries, self.key(tokens)) * len(self.mean) ** -0.5
        weights = weights.masked_fill(~real[:, None, :], -torch.inf).softmax(-1)
        pooled = torch.einsum("bqt,btd->bqd", weights, self.value(tokens)).mean(1)
        logits: torch.Tensor = self.head(self.dropout(pooled))
        return logits


def fit_attentive(
    tokens: Sequence[Array], y: Array, *, multilabel: bool, seed: int, settings: AttentiveSettings | None = None
) -> Callable[[Sequence[Array]], Array]:
    """Train an attentive probe.

    Args:
        tokens: N arrays (T_i, D).
        y: (N, C) bool.
        multilabel: sigmoid and binary cross-entropy instead of softmax and cross-entropy.
        seed: of weights, order and dropout.
        settings: of the training.

    Returns:
        Tokens of some clips → scores (N, C) in [0, 1].
    """
    settings = settings or AttentiveSettings()
    flat = torch.from_numpy(np.concatenate(tokens))
    targets = torch.from_numpy(y).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = AttentivePool(flat.mean(0), flat.std(0).clamp_min(1e-6), y.shape[1], settings)
        _train(module, tokens, targets, multilabel, settings)

    @torch.inference_mode()
    def scores(some: Sequence[Array]) -> Array:
        parts = []
        for first in range(0, len(some), 256):
            logits = module(*_padded(some[first : first + 256]))
            parts.append((logits.sigmoid() if multilabel else logits.softmax(-1)).double().numpy())
        return np.concatenate(parts)

    return scores


def _train(
    module: AttentivePool, tokens: Sequence[Array], targets: torch.Tensor, multilabel: bool, settings: AttentiveSettings
) -> None:
    steps = -(-len(tokens) // settings.batch_size) * settings.epochs
    optimizer = torch.optim.AdamW(module.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    loss_of = functional.binary_cross_entropy_with_logits if multilabel else functional.cross_entropy

    def losses() -> Iterator[torch.Tensor]:
        for _ in range(settings.epochs):
            for rows in torch.split(torch.randperm(len(tokens)), settings.batch_size):
                yield loss_of(module(*_padded([tokens[i] for i in rows])), targets[rows])

    descend(module, losses(), optimizer, schedule)


def _padded(tokens: Sequence[Array]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T, D) float32 and (B, T) bool."""
    batch = nn.utils.rnn.pad_sequence([torch.from_numpy(one) for one in tokens], batch_first=True)
    return batch, real_samples(torch.tensor([len(one) for one in tokens]), batch.shape[1])
