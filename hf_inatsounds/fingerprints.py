"""What a finished thing is made of: which run and which weights, and whether that is still today's input.

A result is taken as it is only where its fingerprint is today's. A fingerprint covers the source's content, everything
that the annotations say, the settings, the weights, and the code that made the result. Names and version numbers alone
never decide: an archive is repaired under its old name, and code changes between two releases.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = Path(__file__).parent
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin", "pytorch_model*.bin.index.json")
_BESIDE = ("config.json", "preprocessor_config.json", "label_space.json")


def fingerprint(facts: Mapping[str, Any]) -> str:
    """SHA-256 of facts by name: numbers, texts, lists and dictionaries of them, None.

    >>> fingerprint({"a": 1, "b": [2.0, None]}) == fingerprint({"b": [2.0, None], "a": 1})
    True
    >>> fingerprint({"a": 1}) == fingerprint({"a": 2})
    False

    Raises:
        TypeError: for a value of any other type, whose text could be the same for different contents.
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def changed_facts(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the facts that differ, for a message that says why something is made again.

    >>> changed_facts({"weights": "a", "window": 3}, {"weights": "b", "window": 3, "code": "c"})
    ['code', 'weights']
    """
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def versions(*distributions: str) -> dict[str, str | None]:
    """Versions of other people's packages, by which their code is known; None for one that is not installed.

    >>> versions("no-such-package")
    {'no-such-package': None}
    """
    found: dict[str, str | None] = {}
    for name in distributions:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def table_fingerprint(table: pa.Table) -> str:
    """SHA-256 of all columns of a table and of its schema; rows in another order give another one.

    Source: Arrow's IPC format, written in one piece so that chunks do not matter.
    """
    import pyarrow as pa

    plain = table.replace_schema_metadata(None).combine_chunks()
    sink = _Digest()
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), plain.schema) as writer:
        writer.write_table(plain)
    return sink.digest.hexdigest()


class _Digest:
    """A file that digests what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return len(content)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def tensors_fingerprint(tensors: Mapping[str, Any]) -> str:
    """SHA-256 of tensors by name, with their shapes and types: of a model's ``state_dict()``."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def code_fingerprint(*modules: str) -> str:
    """SHA-256 of the source of some modules of this package and of all that they import from it.

    Imports inside functions count; those for type checkers do not. ``hf_inatsounds`` itself, which hands out names
    lazily, is left out.

    Args:
        modules: full names ("hf_inatsounds.scoring.recordings").

    Raises:
        ModuleNotFoundError: if there is no such module.
    """
    digest = hashlib.sha256()
    for path in sorted(_reached(modules)):
        digest.update(f"{path.relative_to(PACKAGE).as_posix()} {_source_digest(path)}\n".encode())
    return digest.hexdigest()


def _reached(modules: Iterable[str]) -> set[Path]:
    waiting, found = list(modules), set()
    for module in waiting:
        if not _files(module):
            raise ModuleNotFoundError(module)
    while waiting:
        for path in _files(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting.extend(_imports(path))
    return found


def _files(module: str) -> list[Path]:
    """A module's file and those of the packages that it is in; none for a name that is no module."""
    parts = module.split(".")[1:]
    base = PACKAGE.joinpath(*parts)
    own = base.with_suffix(".py") if parts and base.with_suffix(".py").is_file() else base / "__init__.py"
    if not parts or not own.is_file():
        return []
    above = [PACKAGE.joinpath(*parts[:i], "__init__.py") for i in range(1, len(parts))]
    return [*(path for path in above if path.is_file()), own]


@functools.cache
def _source_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.cache
def _imports(path: Path) -> tuple[str, ...]:
    """Names that a file may import from this package: ``from a import b`` is read as a and as a.b."""
    found: list[str] = []
    for node in _code(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(name for name in found if name.startswith("hf_inatsounds."))


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        yield node
        yield from _code(node)


def new_run() -> str:
    """A name that no other run has."""
    return uuid.uuid4().hex


def weight_files(folder: str | Path) -> list[Path]:
    """The files of a checkpoint's weights, by name; what training keeps beside them to resume is none of them."""
    found = {path for pattern in _WEIGHTS for path in Path(folder).glob(pattern)}
    return sorted(path for path in found if not path.name.startswith("training"))


def checkpoint_digest(folder: str | Path) -> str | None:
    """SHA-256 of what a checkpoint's scores depend on: weights, configuration, feature extractor, classes.

    The same for a copy in another place, and another as soon as a byte of one of these files differs.

    Args:
        folder: a checkpoint.

    Returns:
        64 hexadecimal digits; None where the folder holds no weights.
    """
    weights = weight_files(folder)
    if not weights:
        return None
    digest = hashlib.sha256()
    for path in (*weights, *(Path(folder) / name for name in _BESIDE)):
        if path.is_file():
            digest.update(f"{path.name} {file_digest(path)}\n".encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def file_stamp(path: str | Path) -> tuple[int, int]:
    """A file's size and time, by which a replaced one is told where a digest would cost too much; zeros for none."""
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return about.st_size, about.st_mtime_ns


def read_record(path: Path) -> dict[str, Any]:
    """A JSON document of a run; empty where there is none, or none that can be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
