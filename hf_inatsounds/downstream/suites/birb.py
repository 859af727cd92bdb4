"""BIRB-style retrieval: find a species in soundscapes by a few exemplars of it.

Layout: ``exemplars/SPECIES/`` with one recording or more a species, and ``corpus/`` with recordings and their
annotations as the suite ``folder`` takes them. Corpus windows of 5 s begin every 2.5 s; a window that an event labelled
"unknown" touches is left out. An exemplar is a recording's 5 s, the first of them.

Source: google-research/perch (BIRB).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_inatsounds.downstream.clips import Clip, Fold, Suite, Task, duration_s
from hf_inatsounds.downstream.heard import heard_windows_of, worth_telling
from hf_inatsounds.downstream.overlap import touches
from hf_inatsounds.downstream.policies import BIRB
from hf_inatsounds.downstream.recording_files import audio_files
from hf_inatsounds.downstream.suites.annotated_folder import annotated_recordings, left_out_notes
from hf_inatsounds.errors import SuiteError

WINDOW_S, STRIDE_S = 5.0, 2.5
UNKNOWN = "unknown"


def load_birb(folder: Path, only: Sequence[str] = ()) -> Suite:
    """Exemplars to train on, the corpus to test on."""
    for name in ("exemplars", "corpus"):
        if not (folder / name).is_dir():
            raise SuiteError("missing folder", where=folder / name, found="no such folder", expected=f"{name}/")
    species = tuple(path.name for path in sorted((folder / "exemplars").iterdir()) if path.is_dir())
    if not species:
        raise SuiteError("no exemplars", where=folder / "exemplars", expected="a folder a species")
    clips = []
    for label, name in enumerate(species):
        paths = [str(path) for path in audio_files(folder / "exemplars" / name)]
        if not paths:
            raise SuiteError("no exemplars", where=folder / "exemplars" / name, expected="a recording")
        clips += [Clip(path, 0.0, min(WINDOW_S, duration_s(path)), (label,), "exemplars", path) for path in paths]
    corpus, left_out = annotated_recordings(folder / "corpus")
    heard = {event.label for events in corpus.values() for event in events} - {UNKNOWN}
    unsought = sorted(heard - set(species))
    dropped = 0
    for path, events in corpus.items():
        for start_s, end_s in heard_windows_of(path, WINDOW_S, STRIDE_S):
            here = {event.label for event in events if touches(start_s, end_s, event)}
            if UNKNOWN in here:
                dropped += 1
                continue
            labels = tuple(i for i, name in enumerate(species) if name in here)
            clips.append(Clip(path, start_s, end_s, labels, "corpus", path))
    notes = [f"{dropped} windows left out for an unknown call", *left_out_notes(left_out)]
    if unsought:
        notes.append(f"heard in the corpus, without exemplars, and counted as background: {', '.join(unsought)}")
    fold = Fold("corpus", ("exemplars",), ("corpus",))
    task = Task("birb", species, tuple(clips), (fold,), BIRB, names="scientific", notes=tuple(notes))
    return Suite("birb", (task,), left_out=left_out, heard=worth_telling([*corpus, *left_out]))
