"""A split as a stream over an indexed archive: many shards, order by (seed, epoch, position), exact resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy, deepcopy
from typing import Any, Protocol

import datasets
import numpy as np
import pyarrow as pa
from datasets import iterable_dataset as hf

from hf_inatsounds.archives.sealing import digest
from hf_inatsounds.data.ordering import permuted, shard_ranges
from hf_inatsounds.errors import SourceError


class StreamedRows(Protocol):
    """Rows that are read in the source's order, or in a seed's, from any position on."""

    @property
    def rows(self) -> pa.Table:
        """(N,) all columns but ``audio``."""

    @property
    def blocks(self) -> Any:
        """(N,) number of what each row is fetched with, ascending."""

    @property
    def identity(self) -> str:
        """Digest of which rows these are, in which state."""

    def in_order(self, rows: Any) -> Iterator[tuple[int, Any]]:
        """(row, what :meth:`table` takes) of ascending ``rows``."""

    def mixed(self, rows: Any, seed: int, position: int) -> Iterator[tuple[int, Any]]:
        """(row, what :meth:`table` takes) of ``rows`` in the seed's order, from its ``position``-th on."""

    def table(self, i: int, content: Any) -> pa.Table:
        """The i-th row with its recording."""


class IndexedExamples(hf._BaseExamplesIterable):
    """What ``datasets`` iterates over. Its state is a position, whatever the order.

    Memory: unshuffled, a recording and a chunk; shuffled, of each of ordering.OPEN_BLOCKS = 512 blocks a
    decompressor's state and some hundred kB of data: 260 MB were measured with all 512 open (benchmarks/archives.py).

    Args:
        recordings: the rows, those of other workers included.
        shards: (start, stop) rows of the shards that this one reads, in their order.
        seed: of the order; None for the archive's.
        chosen: the seed that the user chose, of which ``seed`` is that of an epoch.
    """

    def __init__(
        self,
        recordings: StreamedRows,
        shards: list[tuple[int, int]],
        seed: int | None = None,
        chosen: int | None = None,
    ) -> None:
        super().__init__()
        self.recordings, self.shards, self.seed, self.chosen = recordings, shards, seed, chosen
        self._state_dict: dict[str, Any] | None = None
        self._sleep_on_threads_shutdown = False

    @property
    def iter_arrow(self) -> Callable[[], Iterator[tuple[int, pa.Table]]]:
        """Rows as tables of one."""
        return self._iter_arrow

    @property
    def num_shards(self) -> int:
        """How many parts workers and nodes can divide."""
        return len(self.shards)

    @property
    def identity(self) -> str:
        """What a position must be of: the archive, the selection, the user's seed."""
        return digest(f"{self.recordings.identity} {self.chosen}".encode())

    def _init_state_dict(self) -> dict[str, Any]:
        shards = digest(repr(self.shards).encode())
        self._state_dict = {"position": 0, "of": self.identity, "shards": shards, "type": type(self).__name__}
        return self._state_dict

    def require_own(self, state: dict[str, Any], *keys: str) -> None:
        """Refuse a position in other data.

        Raises:
            SourceError: if one of the ``keys`` of the state is not as here.
        """
        own = IndexedExamples(self.recordings, self.shards, self.seed, self.chosen)._init_state_dict()
        for key in keys:
            if state.get(key) != own[key]:
                what = "another source, split, selection or seed" if key == "of" else "another part of the stream"
                raise SourceError(
                    "a state of another stream", where="load_state_dict", found=f"the state of {what}",
                    expected="the state of a stream that was made by the same calls",
                    fix="Load and shuffle as it was done when the state was taken, with as many workers and nodes.",
                )  # fmt: skip

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for key, table in self._iter_arrow():
            yield key, table.to_pylist()[0]

    def _iter_arrow(self) -> Iterator[tuple[int, pa.Table]]:
        position = self._state_dict["position"] if self._state_dict else 0
        if self._state_dict and position:
            self.require_own(self._state_dict, "of", "shards")
        rows = np.concatenate([np.arange(*shard) for shard in sorted(self.shards)] or [np.arange(0)])
        if self.seed is None:
            found = self.recordings.in_order(rows[position:])
        else:
            found = self.recordings.mixed(rows, self.seed, position)
        for i, content in found:
            if self._state_dict:
                self._state_dict["position"] += 1
            yield i, self.recordings.table(i, content)

    def shuffled(self, seed: int, *, chosen: bool = True) -> IndexedExamples:
        """The same rows in the order of a seed, which the user chose or which is an epoch's."""
        shards = sorted(self.shards)
        mixed = [shards[i] for i in permuted(len(shards), seed)]
        return IndexedExamples(self.recordings, mixed, seed, seed if chosen else self.chosen)

    def shuffle_data_sources(self, generator: np.random.Generator) -> IndexedExamples:
        """``datasets`` calls it with a generator of the epoch: the new order depends on it and on the seed."""
        draw = int(deepcopy(generator).integers(1 << 62))
        return self.shuffled(draw if self.seed is None else _joined(self.seed, draw), chosen=False)

    def shard_data_sources(self, num_shards: int, index: int, contiguous: bool = True) -> IndexedExamples:
        """One worker's or node's part."""
        mine = self.split_shard_indices_by_worker(num_shards, index, contiguous=contiguous)
        return IndexedExamples(self.recordings, [self.shards[i] for i in mine], self.seed, self.chosen)

    def reshard_data_sources(self) -> IndexedExamples:
        """There are many shards already."""
        return self


_PASSED = (
    "SelectColumnsIterable", "MappedExamplesIterable", "FilteredExamplesIterable", "FormattedExamplesIterable",
    "RebatchedArrowExamplesIterable",
)  # fmt: skip
"""Steps that treat each row by itself: shuffling before them is shuffling after them."""

_CHAINED = (
    "select_columns", "remove_columns", "rename_column", "rename_columns", "cast_column", "cast", "map", "filter",
    "with_format", "add_column", "decode", "shard",
)  # fmt: skip


class INatSoundsStream(datasets.IterableDataset):
    """A ``datasets.IterableDataset`` whose ``shuffle`` needs no buffer and resumes exactly."""

    def shuffle(self, seed: int | None = None, generator: np.random.Generator | None = None, **more: Any) -> Any:
        """Shuffle, so that the order is a function of (seed, epoch, position).

        Blocks of the archive are permuted and recordings drawn across 512 of them at a time; no recording is
        buffered, so ``buffer_size`` and ``max_buffer_input_shards`` are taken and not needed.
        After ``take`` or ``skip``, ``datasets``' own shuffle is used, with its buffer; after
        ``map(batched=True)`` both.

        Args:
            seed: of the order; None draws one.
            generator: what the seed is drawn from instead.
            more: what ``datasets.IterableDataset.shuffle`` takes besides.
        """
        drawn = deepcopy(generator) if generator is not None else np.random.default_rng(seed)
        made = _with_seed(self._ex_iterable, int(drawn.integers(1 << 62)))
        if made is None:
            return super().shuffle(seed=seed, generator=generator, **more)
        shuffled = _stream(made, self)
        if _is_batched(made):  # a batched map may make several rows of one, which are to part
            return datasets.IterableDataset.shuffle(shuffled, seed=seed, generator=generator, **more)
        if hasattr(hf, "ShufflingConfig"):  # datasets 4: without it, set_epoch changes nothing
            shuffled._shuffling = hf.ShufflingConfig(generator=drawn, _original_seed=seed)
        return shuffled

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` was taken.

        Raises:
            SourceError: if it was taken of another source, split, selection or seed.
        """
        own, found = _innermost(self._ex_iterable), _state_of_ours(state_dict)
        if own is not None:
            own.require_own(found, "of")
        super().load_state_dict(state_dict)


def _innermost(node: Any) -> IndexedExamples | None:
    """Our rows under the steps that were put on them."""
    while node is not None and not isinstance(node, IndexedExamples):
        node = getattr(node, "ex_iterable", None)
    return node


def _state_of_ours(state: Any) -> dict[str, Any]:
    """The part of a state that is of an :class:`IndexedExamples`; empty where there is none."""
    if not isinstance(state, dict):
        return {}
    if state.get("type") == IndexedExamples.__name__:
        return state
    return next((found for value in state.values() if (found := _state_of_ours(value))), {})


def _stream(ex_iterable: Any, like: Any) -> INatSoundsStream:
    """A stream over ``ex_iterable`` with everything else as ``like`` has it."""
    kept = {key: getattr(like, f"_{key}") for key in ("split", "formatting", "distributed", "token_per_repo_id")}
    made = INatSoundsStream(ex_iterable, info=like._info, **kept)  # which copies the names of all species
    if hasattr(like, "_shuffling"):
        made._shuffling = deepcopy(like._shuffling)
    return made


def _chained(name: str) -> Callable[..., Any]:
    inherited = getattr(datasets.IterableDataset, name)

    def method(self: INatSoundsStream, *args: Any, **kwargs: Any) -> INatSoundsStream:
        made = inherited(self, *args, **kwargs)
        return _stream(made._ex_iterable, made)

    method.__name__ = name
    method.__doc__ = f"As ``datasets.IterableDataset.{name}``; the result is a stream of this class too."
    return method


for _name in _CHAINED:
    if hasattr(datasets.IterableDataset, _name):
        setattr(INatSoundsStream, _name, _chained(_name))


def _with_seed(node: Any, seed: int) -> Any:
    """The iterable with our rows in the seed's order; None where that would change which rows there are."""
    if isinstance(node, IndexedExamples):
        return node.shuffled(seed if node.seed is None else _joined(node.seed, seed))
    if type(node).__name__ not in _PASSED:
        return None
    inner = _with_seed(node.ex_iterable, seed)
    if inner is None:
        return None
    made = copy(node)
    made.ex_iterable = inner
    return made


def _is_batched(node: Any) -> bool:
    """Whether a step maps several rows at a time."""
    while node is not None:
        if type(node).__name__ == "MappedExamplesIterable" and getattr(node, "batched", False):
            return True
        node = getattr(node, "ex_iterable", None)
    return False


def _joined(seed: int, draw: int) -> int:
    """One seed of two."""
    return int(np.random.SeedSequence([seed, draw]).generate_state(1, np.uint64)[0])


def rows_stream(recordings: StreamedRows, info: Any, split: str) -> INatSoundsStream:
    """The stream of a split; the bounds of its shards are at seek points, or those of row groups."""
    examples = IndexedExamples(recordings, shard_ranges(recordings.blocks))
    return INatSoundsStream(examples, info=info, split=datasets.NamedSplit(split))
