"""Defective recordings: what is wrong with one, and a log that counts and names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hf_inatsounds.audio import Recording
from hf_inatsounds.errors import AudioError
from hf_inatsounds.schema import DEFECT_KINDS, NEAR_EMPTY_S, SAMPLING_RATE_HZ

UNUSABLE = ("empty", "unreadable")
"""Kinds from which nothing can be decoded."""


@dataclass(frozen=True)
class Inspection:
    """What looking at one recording's bytes found.

    Attributes:
        recording_id: its id.
        file_name: its file.
        digest: of its bytes, 16 bytes.
        kinds: what is wrong with it, duplicates aside.
        duration_s: readable seconds; None where it is unreadable or empty.
    """

    recording_id: int
    file_name: str
    digest: bytes
    kinds: tuple[str, ...]
    duration_s: float | None = None

    @property
    def usable(self) -> bool:
        """Whether something can be decoded."""
        return not set(self.kinds) & set(UNUSABLE)


def inspect_recording(recording_id: int, file_name: str, audio: dict[str, Any], *, decode: bool = False) -> Inspection:
    """Look at one row's audio: header and bytes.

    Args:
        recording_id: its id.
        file_name: its file.
        audio: ``{"bytes", "path"}``.
        decode: whether to decode compressed audio to its end too, a minute at a time; PCM cannot fail to decode.
    """
    content = audio.get("bytes")
    if content is None:
        with open(audio["path"], "rb") as stream:
            content = stream.read()
    digest = hashlib.blake2b(content, digest_size=16).digest()
    kinds, duration_s = _look(content, decode)
    return Inspection(recording_id, file_name, digest, tuple(kinds), duration_s)


def _look(content: bytes, decode: bool) -> tuple[list[str], float | None]:
    if not content:
        return ["empty"], None
    try:
        with Recording(content) as recording:
            info = recording.info
            if decode and not (content[:4] == b"RIFF" and info.subtype.startswith("PCM")):
                for minute in range(int(info.duration_s // 60) + 1):
                    recording.read(minute * 60.0, 60.0)
    except AudioError:
        return ["unreadable"], None
    found = {
        "empty": info.n_samples == 0,
        "truncated": info.truncated,
        "near-empty": 0 < info.duration_s < NEAR_EMPTY_S,
        "wrong-format": (info.sampling_rate, info.n_channels) != (SAMPLING_RATE_HZ, 1),
    }
    return [kind for kind, is_so in found.items() if is_so], info.duration_s


@dataclass
class DefectLog:
    """Counts and names the defects of the recordings that it was shown; each recording counts once."""

    seen: dict[int, Inspection] = field(default_factory=dict)

    def add(self, inspections: Iterable[Inspection]) -> None:
        """Take more inspections; one of a recording already seen changes nothing."""
        for inspection in inspections:
            self.seen.setdefault(inspection.recording_id, inspection)

    def report(self) -> dict[str, Any]:
        """``{"recordings": n, "defects": {kind: [{"recording_id", "file_name", …}]}}``, in order of ids.

        A recording can have several kinds; of a set of duplicates all but the lowest id are named, with the
        id that they repeat.
        """
        found: dict[str, list[dict[str, Any]]] = {kind: [] for kind in DEFECT_KINDS}
        first: dict[bytes, int] = {}
        for recording_id, inspection in sorted(self.seen.items()):
            entry = {"recording_id": recording_id, "file_name": inspection.file_name}
            for kind in inspection.kinds:
                found[kind].append(entry)
            if "empty" in inspection.kinds:
                continue  # empty files are equal, and named already
            original = first.setdefault(inspection.digest, recording_id)
            if original != recording_id:
                found["duplicate"].append({**entry, "repeats_recording_id": original})
        return {"recordings": len(self.seen), "defects": {kind: rows for kind, rows in found.items() if rows}}
