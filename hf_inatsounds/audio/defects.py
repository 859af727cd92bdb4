"""Defective recordings: what is wrong with one, and a log that counts and names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from hf_inatsounds.audio import AudioInfo, Recording
from hf_inatsounds.audio.hearing import Hearing
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
        hearing: what became of it where it was read, None where only its header was looked at.
    """

    recording_id: int
    file_name: str
    digest: bytes | None
    kinds: tuple[str, ...]
    duration_s: float | None = None
    hearing: Hearing | None = None

    @property
    def usable(self) -> bool:
        """Whether something can be decoded."""
        return not set(self.kinds) & set(UNUSABLE)


def inspect_recording(
    recording_id: int, file_name: str, audio: dict[str, Any], *, hearing: Hearing | None = None
) -> Inspection:
    """Look at one row's audio: header and bytes.

    Args:
        recording_id: its id.
        file_name: its file.
        audio: ``{"bytes", "path"}``.
        hearing: what became of it when it was read, which adds what its header does not tell.
    """
    content = content_of(audio)
    kinds, duration_s = _look(content)
    return with_hearing(Inspection(recording_id, file_name, digest_of(content), tuple(kinds), duration_s), hearing)


def with_hearing(inspection: Inspection, hearing: Hearing | None) -> Inspection:
    """The same with what became of the recording when it was read.

    >>> with_hearing(Inspection(1, "a.ogg", None, (), 9.0), Hearing("partial", heard_s=5.0)).kinds
    ('truncated',)
    """
    if hearing is None:
        return inspection
    found, duration_s = inspection.kinds, inspection.duration_s
    if hearing.status == "partial":
        found, duration_s = tuple(dict.fromkeys((*found, "truncated"))), hearing.heard_s
    elif hearing.status == "failed" and inspection.usable:
        found, duration_s = (*(kind for kind in found if kind == "wrong-format"), "unreadable"), None
    return replace(inspection, kinds=found, duration_s=duration_s, hearing=hearing)


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
    """What tells byte-identical recordings; a millisecond for 800 kB, so it is taken once per recording."""
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


def _look(content: Any) -> tuple[list[str], float | None]:
    try:
        with Recording(content) as recording:
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
            kinds = tuple(dict.fromkeys(first.kinds + inspection.kinds))
            digest, hearing = first.digest or inspection.digest, _worse(first.hearing, inspection.hearing)
            if (kinds, digest, hearing) != (first.kinds, first.digest, first.hearing):
                self.seen[inspection.recording_id] = replace(first, kinds=kinds, digest=digest, hearing=hearing)

    def report(self) -> dict[str, Any]:
        """``{"recordings": n, "defects": {kind: [{"recording_id", "file_name", …}]}, "heard": [{…}]}``, by ids.

        A recording can have several kinds; of a set of duplicates all but the lowest id are named, with the
        id that they repeat. ``heard`` has, as :meth:`Hearing.as_dict` gives it, what became of each recording that was
        not heard whole, or of which there is something to tell: silence, channels that cancel each other.
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
        return {
            "recordings": len(self.seen),
            "defects": {kind: rows for kind, rows in found.items() if rows},
            "heard": [
                {"recording_id": i, "file_name": one.file_name, **one.hearing.as_dict()}
                for i, one in sorted(self.seen.items())
                if one.hearing is not None and one.hearing.notes()
            ],
        }


def _worse(first: Hearing | None, other: Hearing | None) -> Hearing | None:
    """Of two readings the one that tells more: windows elsewhere in a recording may have met its damage."""
    if first is None or other is None:
        return first or other
    return other if len(other.notes()) > len(first.notes()) else first
