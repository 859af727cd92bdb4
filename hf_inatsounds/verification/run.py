"""All splits: in one process or several, with progress, a cache of finished archives, and one report."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_inatsounds.archives.fetch import Source, public_place
from hf_inatsounds.data.annotations import annotation_file
from hf_inatsounds.errors import SourceError
from hf_inatsounds.progress import Bar
from hf_inatsounds.runtime.pool import processes
from hf_inatsounds.schema import SPLITS, STEMS
from hf_inatsounds.verification.job import Job

PROCESSES_FROM_BYTES = 256 << 20
"""Below this starting a process takes longer than the work."""

_shared: dict[str, Any] = {}
"""In a worker: the byte counts that it shares with the main process."""


def verify(
    source: str | os.PathLike[str],
    *,
    splits: Sequence[str] | None = None,
    window_s: float = 3.0,
    jobs: int | None = None,
    cache: str | Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Read every file of a source once, and report what is wrong with it.

    Args:
        source: "official", a folder with the archives or the unpacked tree, or a base URL.
        splits: those to read; None for all that the source has.
        window_s: recordings shorter than this are counted, in seconds.
        jobs: processes, one per split at a time; None decides by the source's size and the machine.
        cache: folder that keeps what was found in each finished archive, until it, its annotations or the code change.
        quiet: no progress on stderr.

    Returns:
        JSON-ready: ``source``, ``window_s``, ``splits`` (see :func:`check_split`), ``duplicates_across_splits``,
        ``problems`` (one line each: damage, another md5, files and annotations that do not match) and ``ok``,
        whether there are none. Defective recordings are listed, and no problem.

    Raises:
        SourceError: if there is nothing to verify, or a split is unknown.
    """
    parsed = Source.parse(source)
    chosen = _chosen(parsed, splits)
    jobs_to_do = [Job(parsed.root, split, window_s, None if cache is None else str(cache)) for split in chosen]
    checks = _run(jobs_to_do, jobs, quiet)
    across = _duplicates_across(checks)
    for check in checks:
        del check["digests"]
    problems = [line for check in checks for line in _problems(check, parsed)]
    return {
        "source": public_place(parsed.root),
        "window_s": window_s,
        "ok": not problems,
        "problems": problems,
        "splits": {check.pop("split"): check for check in checks},
        "duplicates_across_splits": across,
    }


def _chosen(source: Source, splits: Sequence[str] | None) -> list[str]:
    for split in splits or ():
        if split not in SPLITS:
            raise SourceError("unknown split", where="split", found=repr(split), expected=", ".join(SPLITS))
    found = [
        split
        for split in SPLITS
        if annotation_file(source, split) or source.exists(f"{STEMS[split]}.tar.gz") or _is_folder(source, split)
    ]
    chosen = found if splits is None else [split for split in SPLITS if split in splits]
    missing = [split for split in chosen if split not in found]
    if missing or not chosen:
        stem = STEMS[missing[0]] if missing else "train"
        raise SourceError(
            "nothing of iNatSounds here", where=source.root, expected=f"{stem}.tar.gz and {stem}.json.tar.gz …"
        )
    return chosen


def _is_folder(source: Source, split: str) -> bool:
    return not source.is_remote and Path(source.path(STEMS[split])).is_dir()


def _run(jobs_to_do: list[Job], jobs: int | None, quiet: bool) -> list[dict[str, Any]]:
    sizes = [job.n_bytes() for job in jobs_to_do]
    if jobs is None:
        jobs = 1 if sum(sizes) < PROCESSES_FROM_BYTES else os.cpu_count() or 1
    bar = Bar("verify", quiet=quiet, in_bytes=True)
    bar.start(sum(sizes))
    try:
        if min(jobs, len(jobs_to_do)) > 1:
            return _in_processes(jobs_to_do, min(jobs, len(jobs_to_do)), bar)
        done = [0]

        def on_bytes(n: int) -> None:
            done[0] += n
            bar.update(done[0])

        return [job.run(on_bytes) for job in jobs_to_do]
    finally:
        bar.close()


def _in_processes(jobs_to_do: list[Job], n_processes: int, bar: Bar) -> list[dict[str, Any]]:
    done = multiprocessing.get_context("spawn").Array("Q", len(jobs_to_do))
    with processes(n_processes, _join, done) as pool:
        futures = [pool.submit(_work, position, job) for position, job in enumerate(jobs_to_do)]
        waiting = set(futures)
        while waiting:
            _, waiting = concurrent.futures.wait(waiting, timeout=0.3, return_when=concurrent.futures.FIRST_EXCEPTION)
            bar.update(sum(done[:]))
            for future in futures:
                if future.done():
                    future.result()  # an error ends the others too
        return [future.result() for future in futures]


def _join(done: Any) -> None:
    """In a new worker: share the counts."""
    _shared.update(done=done)


def _work(position: int, job: Job) -> dict[str, Any]:
    def on_bytes(n: int) -> None:
        _shared["done"][position] += n

    return job.run(on_bytes)


def _duplicates_across(checks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Recordings whose bytes an earlier split holds too: what a model was trained on may be in its test."""
    first: dict[str, tuple[str, int, str]] = {}
    found = []
    for check in checks:
        for recording_id, file_name, digest in check["digests"]:
            split, original_id, original = first.setdefault(digest, (check["split"], recording_id, file_name))
            if split != check["split"]:
                found.append(
                    {"split": check["split"], "recording_id": recording_id, "file_name": file_name,
                     "repeats_split": split, "repeats_recording_id": original_id, "repeats_file_name": original}
                )  # fmt: skip
    return found


def _problems(check: dict[str, Any], source: Source) -> list[str]:
    """What makes the source not whole, one line each."""
    stem = STEMS[check["split"]]
    archive, annotations = check["archive"], check["annotations"]
    lines = [f"missing: {source.path(f'{stem}.tar.gz')}"] if archive is None else []
    lines += [f"missing: {source.path(f'{stem}.json.tar.gz')}"] if annotations is None else []
    for part in (archive, annotations):
        if part is not None and part["damage"] is not None:
            lines.append(part["damage"])
        if part is not None and part["md5"] and part["official_md5"] not in (None, part["md5"]):
            lines.append(
                f"another md5: {source.path(part['name'])}: found {part['md5']}; expected {part['official_md5']}"
            )
    if archive is None or archive["damage"] is not None or check["annotated"] is None:
        return lines  # what the files hold is not known
    for key, what in (("missing", "annotated recordings without file"), ("strays", "files without annotation")):
        if check[key]["count"]:
            lines.append(f"{archive['name']}: {check[key]['count']:,} {what}, the first is {check[key]['names'][0]}")
    return lines
