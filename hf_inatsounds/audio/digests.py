"""Which recordings are byte-identical, from folder to folder: digests of all that a run or an evaluation read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from hf_inatsounds.audio.defects import DefectLog
from hf_inatsounds.files import replacing

DIGESTS_FILE = "digests.parquet"
"""In a run folder of what was trained on, in a folder of scores of what was scored: 16 bytes per recording."""


def write_digests(folder: str | Path, log: DefectLog) -> str:
    """Write the digests of a log's recordings; nothing is hashed again, since looking for defects did it.

    That took 1.2 ms for a recording of mean length (816 kB); the file is 1.6 MB for the official split.

    Of each recording's digest the first 64 bits are kept: among 137,012 and 49,527 recordings one pair in 2.7 billion
    such comparisons would be equal by chance. Empty recordings are left out: they are all equal.

    Args:
        folder: where to.
        log: what was read.

    Returns:
        SHA-256 of the file, by which another file can say that it belongs to it.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = [one for _, one in sorted(log.seen.items()) if one.digest is not None and "empty" not in one.kinds]
    columns = {
        "recording_id": pa.array([one.recording_id for one in known], pa.int64()),
        "digest": pa.array([int.from_bytes(one.digest[:8], "big") for one in known if one.digest], pa.uint64()),
    }
    path = Path(folder) / DIGESTS_FILE
    with replacing(path) as temporary:
        pq.write_table(pa.table(columns), temporary, use_dictionary=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_digests(folder: str | Path, sha256: str | None) -> np.ndarray[Any, np.dtype[np.uint64]] | None:
    """Digests of a folder's recordings, (N,); None where there is no such file, or another than ``sha256`` says."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = Path(folder) / DIGESTS_FILE
    try:
        if sha256 is None or hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            return None
        return pq.read_table(path, columns=["digest"])["digest"].to_numpy()
    except (OSError, pa.ArrowInvalid, KeyError):
        return None


def count_identical(evaluated: Any, trained: Any) -> int:
    """How many evaluated recordings are byte-identical to one that was trained on.

    >>> count_identical(np.array([1, 2, 2], np.uint64), np.array([2, 3], np.uint64))
    2
    """
    return int(np.isin(evaluated, trained).sum())
