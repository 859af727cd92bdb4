"""The annotation JSON as text: found in a source, and read strictly, since anybody may have written it."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from typing import Any

from hf_inatsounds.archives.fetch import Source, held
from hf_inatsounds.archives.forward import iterate_members
from hf_inatsounds.errors import AnnotationError, SourceError
from hf_inatsounds.progress import note
from hf_inatsounds.schema import STEMS

MAX_JSON_BYTES = 256 << 20
"""Largest annotation JSON that is read. The official ones have some 100 MB, of which Python makes some 500."""

MAX_VALUES = 16_000_000
"""Most values of all kinds in it; 137,012 recordings make 1.9 million. One takes 8 to some 40 bytes of memory."""

MAX_CONTAINERS = 4_000_000
"""Most objects and lists among them; an object takes 64 to 184 bytes and more. The official train split has 280,000."""

MAX_JSON_RATIO = 50
"""Decompressed bytes of JSON per compressed one, beyond the first JSON_SLACK_BYTES. The official ones have about 7."""

JSON_SLACK_BYTES = 32 << 20

MOST = 1e12
"""Seconds or metres beyond all sense, so that no infinity and no overflow gets through."""


def annotation_file(source: Source, split: str) -> str | None:
    """Name of the split's annotation file in ``source``: packed, or unpacked; None if there is neither."""
    stem = STEMS[split]
    return next(iter(held((f"{stem}.json.tar.gz", f"{stem}.json"), source.exists)), None)


def require_annotation_file(source: Source, split: str) -> str:
    """As :func:`annotation_file`.

    Raises:
        AnnotationError: if there is none.
    """
    name = annotation_file(source, split)
    if name is None:
        raise AnnotationError(
            "missing annotation archive",
            where=source.path(f"{STEMS[split]}.json.tar.gz"),
            found="no such file",
            expected=f"the annotations of the {split} split",
            fix="Download it from the place the audio archive is from.",
        )
    return name


def read_document(source: Source, name: str) -> tuple[Any, str]:
    """The JSON document in the file ``name``, packed or not, and the file's md5.

    Raises:
        AnnotationError: if it is damaged, too large, or no JSON.
    """
    try:
        content, md5 = _content(source, name)
        return parse_document(content, where=source.path(name)), md5
    except AnnotationError as error:
        if not source.drop_copy(name):
            raise
        note(f"{error} Fetching it again.")
        content, md5 = _content(source, name)
        return parse_document(content, where=source.path(name)), md5


def parse_document(content: bytes, *, where: str) -> Any:
    """Parse UTF-8 JSON, with or without a byte order mark.

    NaN and Infinity are let through, because the official file has NaN for some places; whoever reads a
    number decides. A key given twice in one object is refused: which of them counts is anybody's guess.

    Raises:
        AnnotationError: if it is not UTF-8 or not JSON.

    >>> parse_document(b'{"id": 1, "id": 2}', where="train.json")
    Traceback (most recent call last):
    hf_inatsounds.errors.AnnotationError: key given twice: train.json: found 'id'; expected every key once an object
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise AnnotationError(
                "key given twice", where=where, found=repr(twice), expected="every key once an object"
            )
        return made

    _require_moderate(content, where)
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise AnnotationError(
            "not UTF-8", where=where, found=f"{content[error.start : error.start + 4]!r} at byte {error.start:,}",
            expected="JSON in UTF-8",
        ) from error  # fmt: skip
    except (ValueError, RecursionError) as error:
        raise AnnotationError("not JSON", where=where, found=error, expected="the annotation JSON") from error


def _require_moderate(content: bytes, where: str) -> None:
    """Refuse JSON of so many values that they fill the memory, before one is made.

    Separators are counted, those in texts too: some more than there are values, never fewer.

    Raises:
        AnnotationError: if there are too many.
    """
    containers = content.count(b"{") + content.count(b"[")
    values = containers + content.count(b",")
    for what, found, most in (("values", values, MAX_VALUES), ("objects and lists", containers, MAX_CONTAINERS)):
        if found > most:
            raise AnnotationError(
                "annotations too large", where=where, found=f"{found:,} {what}", expected=f"at most {most:,}"
            )


def _content(source: Source, name: str) -> tuple[bytes, str]:
    """The JSON in a file, and the file's md5."""
    where = source.path(name)
    with open(source.local_copy(name), "rb") as stream:
        if not name.endswith(".tar.gz"):
            content = stream.read(MAX_JSON_BYTES + 1)
            if len(content) > MAX_JSON_BYTES:
                raise AnnotationError(
                    "annotations too large", where=where, found=f"more than {MAX_JSON_BYTES:,} bytes",
                    expected="the annotation JSON",
                )  # fmt: skip
            return content, hashlib.md5(content, usedforsecurity=False).hexdigest()
        try:
            wanted = iterate_members(
                stream, where=where, wanted=lambda member: member.endswith(".json"), max_member_bytes=MAX_JSON_BYTES,
                max_ratio=MAX_JSON_RATIO, slack_bytes=JSON_SLACK_BYTES,
            )  # fmt: skip
            content, n_found = b"", 0
            for _, content in wanted:  # noqa: B007
                n_found += 1
        except SourceError as error:
            raise AnnotationError(str(error)) from error
        if n_found != 1:
            raise AnnotationError("odd annotation archive", where=where, found=f"{n_found} .json files", expected="one")
        stream.seek(0)
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return content, md5


def json_number(audio: dict[str, Any], key: str, at: str, low: float, high: float) -> float | None:
    """A finite number within [low, high]; None for null and NaN, which the official JSON has both."""
    value = audio.get(key)
    if value is None or is_nan(value):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise AnnotationError("value out of range", where=f"{at}, {key}", found=repr(value), expected=f"{low} … {high}")
    return float(value)


def json_text(value: Any, at: str) -> str | None:
    """Text that can be stored as UTF-8; numbers are written out, null and NaN are None."""
    if value is None or is_nan(value):
        return None
    if not isinstance(value, (str, int, float)):
        raise AnnotationError("no text", where=at, found=type(value).__name__, expected="text or null")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON's \u can write
        raise AnnotationError("text that is not Unicode", where=at, found=ascii(text), expected="text") from error
    return text


def is_nan(value: Any) -> bool:
    """Whether a value is the NaN that Python's JSON knows."""
    return isinstance(value, float) and math.isnan(value)


def is_id(value: Any) -> bool:
    """Whether a value is an integer of 64 bits, as Arrow stores it."""
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63
