"""Defective recordings: what is wrong with one, and a log that counts and names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hf_inatsounds.audio import AudioInfo, Recording
from hf_inatsounds.errors import AudioError, EmptyAudioError
from hf_inatsounds.schema import DEFECT_KINDS, NEAR_EMPTY_S, SAMPLING_RATE_HZ

UNUSABLE = ("empty", "unreadable")
"""Kinds from which nothing can be decoded."""


@dataclass(frozen=True)
class Inspection:
    """What looking at one recording's bytes found.

    Attributes:
        recording_id: its id.
        file_name: its file.
        digest: of its bytes, 16 bytes; None where it was not taken, since it was taken before.
        kinds: what is wrong with it, duplicates aside.
        duration_s: readable seconds; None where it is unreadable or empty.
    """

    recording_id: int
    file_name: str
    digest: bytes | None
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
    content = content_of(audio)
    kinds, duration_s = _look(content, decode)
    return Inspection(recording_id, file_name, digest_of(content), tuple(kinds), duration_s)


def content_of(audio: dict[str, Any]) -> Any:
    """The encoded bytes of a row's audio, read where only its path is given.

    Raises:
        AudioError: if that cannot be read.
    """
    if (content := audio.get("bytes")) is not None:
        return content
    try:
        with open(audio["path"], "rb") as stream:
            return stream.read()
    except OSError as error:
        raise AudioError("no such recording", where=audio["path"], found=error.strerror) from error


def digest_of(content: Any) -> bytes:
    """What tells byte-identical recordings; a millisecond for 800 kB, so it is taken once a recording."""
    return hashlib.blake2b(content, digest_size=16).digest()


def kinds_of(info: AudioInfo) -> list[str]:
    """What a readable recording's header says is wrong with it.

    >>> kinds_of(AudioInfo(n_samples=0, sampling_rate=22_050, n_channels=1, subtype="PCM_16", truncated=False))
    ['empty']
    """
    found = {
        "empty": info.n_samples == 0,
        "truncated": info.truncated,
        "near-empty": 0 < info.duration_s < NEAR_EMPTY_S,
        "wrong-format": (info.sampling_rate, info.n_channels) != (SAMPLING_RATE_HZ, 1),
    }
    return [kind for kind, is_so in found.items() if is_so]


def _look(content: Any, decode: bool) -> tuple[list[str], float | None]:
    try:
        with Recording(content) as recording:
            if decode and not (content[:4] == b"RIFF" and recording.info.subtype.startswith("PCM")):
                for minute in range(int(recording.info.duration_s // 60) + 1):
                    recording.read(minute * 60.0, 60.0)
                    if recording.info.truncated:  # there is nothing behind it
                        break
            return kinds_of(recording.info), recording.info.duration_s
    except EmptyAudioError:
        return ["empty"], None
    except AudioError:
        return ["unreadable"], None


@dataclass
class DefectLog:
    """Counts and names the defects of the recordings that it was shown; each recording counts once."""

    seen: dict[int, Inspection] = field(default_factory=dict)

    def add(self, inspections: Iterable[Inspection]) -> None:
        """Take more inspections. Of one recording the first counts, with the kinds that later ones found besides."""
        for inspection in inspections:
            first = self.seen.setdefault(inspection.recording_id, inspection)
            if not set(inspection.kinds) <= set(first.kinds) or (first.digest is None and inspection.digest):
                kinds = tuple(dict.fromkeys(first.kinds + inspection.kinds))
                more = replace(first, kinds=kinds, digest=first.digest or inspection.digest)
                self.seen[inspection.recording_id] = more

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
            if not inspection.usable or inspection.digest is None:
                continue  # nothing in them is repeated, and they are named already
            original = first.setdefault(inspection.digest, recording_id)
            if original != recording_id:
                found["duplicate"].append({**entry, "repeats_recording_id": original})
        return {"recordings": len(self.seen), "defects": {kind: rows for kind, rows in found.items() if rows}}
