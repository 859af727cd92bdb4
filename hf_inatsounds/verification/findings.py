"""What the members of one split turn out to be, counted and named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from hf_inatsounds.audio.defects import DefectLog, inspect_recording
from hf_inatsounds.audio.hearing import hear
from hf_inatsounds.errors import printable

MOST_NAMES = 20
"""Names that a list of files holds; the count is of all."""

TOLERANCE_S, TOLERANCE_SHARE = 0.1, 0.01
"""An annotated length may differ by this and still be right: it was rounded, or taken before conversion."""


@dataclass
class _Names:
    """A count, and the first names."""

    count: int = 0
    names: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.count += 1
        if len(self.names) < MOST_NAMES:
            self.names.append(printable(name))

    def as_dict(self) -> dict[str, Any]:
        return {"count": self.count, "names": self.names}


@dataclass
class Findings:
    """What the members of one split turn out to be.

    Attributes:
        annotated: file → id and annotated seconds; None where the annotations cannot be read, and nothing is wanted.
        window_s: recordings shorter than this are counted, in seconds.
        log: defects by kind.
        wrong_length: rows of those that are not as long as annotated.
        met: files that were read.
        members: files in the archive.
        short: recordings shorter than ``window_s``.
        seconds: of all that can be decoded.
        strays: files without annotation.
        repeated: files whose name came before; the first counts, as in ``load_dataset``.
    """

    annotated: dict[str, tuple[int, float | None]] | None
    window_s: float
    log: DefectLog = field(default_factory=DefectLog)
    wrong_length: list[dict[str, Any]] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    members: int = 0
    short: int = 0
    seconds: float = 0.0
    strays: _Names = field(default_factory=_Names)
    repeated: _Names = field(default_factory=_Names)

    def wanted(self, name: str) -> bool:
        """Whether to read a member; counts what is not annotated, or comes a second time."""
        self.members += 1
        if self.annotated is None:
            return False
        if name not in self.annotated:
            self.strays.add(name)
            return False
        if name in self.met:
            self.repeated.add(name)
            return False
        return True

    def take(self, name: str, content: bytes) -> None:
        """Look at a recording that was wanted."""
        self.met.add(name)
        recording_id, annotated_s = (self.annotated or {})[name]
        found = inspect_recording(recording_id, name, {"bytes": content, "path": name}, hearing=hear(content))
        self.log.add([found])
        if not found.duration_s:
            return
        self.seconds += found.duration_s
        self.short += found.duration_s < self.window_s
        if (
            annotated_s is not None
            and "truncated" not in found.kinds
            and not _same_length(found.duration_s, annotated_s)
        ):
            self.wrong_length.append(
                {"recording_id": recording_id, "file_name": name, "duration_s": round(found.duration_s, 3),
                 "annotated_s": annotated_s}
            )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; ``digests`` lists id, file and digest of every recording that is not empty."""
        report = self.log.report()
        defects = report["defects"]
        if self.wrong_length:
            defects["wrong-length"] = sorted(self.wrong_length, key=lambda row: cast(int, row["recording_id"]))
        missing = _Names()
        for name in self.annotated or {}:
            if name not in self.met:
                missing.add(name)
        usable = [one for one in self.log.seen.values() if "empty" not in one.kinds]
        return {
            "annotated": None if self.annotated is None else len(self.annotated),
            "found": len(self.met),
            "hours": self.seconds / 3600,
            "shorter_than_window": self.short,
            "missing": missing.as_dict(),
            "strays": self.strays.as_dict(),
            "repeated": self.repeated.as_dict(),
            "defects": defects,
            "heard": report["heard"],
            "digests": [[one.recording_id, one.file_name, one.digest.hex()] for one in usable if one.digest],
        }


def _same_length(found_s: float, annotated_s: float) -> bool:
    return abs(found_s - annotated_s) <= max(TOLERANCE_S, TOLERANCE_SHARE * annotated_s)
