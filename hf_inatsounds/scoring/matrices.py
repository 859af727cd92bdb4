"""Score matrices in and out of columns of fixed-size lists, in no more memory than the matrix itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Array = np.ndarray[Any, np.dtype[Any]]

ROWS = 1024
"""Recordings in a row group: 5 MB of 1,212 classes."""


def read_matrix(file: pq.ParquetFile, column: str, n_classes: int) -> Array:
    """A column of lists as (F, K) float32, row group by row group: all at once would hold it twice."""
    matrix = np.empty((file.metadata.num_rows, n_classes), np.float32)
    first = 0
    for group in range(file.num_row_groups):
        part = as_matrix(file.read_row_group(group, columns=[column])[column], n_classes)
        matrix[first : first + len(part)] = part
        first += len(part)
    return matrix


def not_finite(matrix: Array) -> Array:
    """Rows that hold NaN or infinity, looked for portion by portion: a mask of all would be a quarter of the matrix."""
    found = [first + np.flatnonzero(~np.isfinite(matrix[first : first + ROWS]).all(axis=1))
             for first in range(0, len(matrix), ROWS)]  # fmt: skip
    return np.concatenate([np.zeros(0, np.int64), *found])


def as_lists(matrix: Array) -> pa.Array:
    """(F, K) as a column of lists of float32."""
    flat = pa.array(np.ascontiguousarray(matrix, np.float32).ravel(), pa.float32())
    return pa.FixedSizeListArray.from_arrays(flat, matrix.shape[1])


def as_matrix(column: pa.ChunkedArray, n_classes: int) -> Array:
    """(F, K) float32 of a column of lists, a view where it is one chunk."""
    if column.num_chunks == 1:
        flat = column.chunk(0).flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(column), n_classes))
    matrix = np.empty((len(column), n_classes), np.float32)
    first = 0
    for chunk in column.chunks:
        matrix[first : first + len(chunk)] = chunk.flatten().to_numpy(zero_copy_only=False).reshape(-1, n_classes)
        first += len(chunk)
    return matrix
