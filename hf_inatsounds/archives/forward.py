"""Reading a gzip tar once, from front to back, with bounded memory."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from hf_inatsounds.errors import SourceError

MAX_MEMBER_BYTES = 1 << 30
"""Largest member that is read: 1 GiB, six hours of 22,050 Hz 16-bit audio. The longest real one has 56 MB."""


def iterate_members(
    stream: IO[bytes],
    *,
    where: str,
    wanted: Callable[[str], bool] | None = None,
    max_member_bytes: int = MAX_MEMBER_BYTES,
) -> Iterator[tuple[str, bytes]]:
    """Yield ``(name, content)`` of each regular file, in archive order.

    Args:
        stream: the compressed archive, opened for reading; it need not be seekable.
        where: its name, for errors.
        wanted: whether a name's content is wanted; others are passed over without being kept.
        max_member_bytes: a larger member is an error: a bomb, or no archive of recordings.

    Raises:
        SourceError: if the archive is damaged, ends early or holds too large a member.
    """
    last = "its beginning"
    try:
        with tarfile.open(fileobj=stream, mode="r|gz") as archive:
            for member in archive:
                if not member.isfile() or (wanted is not None and not wanted(member.name)):
                    continue
                if member.size > max_member_bytes:
                    raise SourceError(
                        "archive member too large",
                        where=f"{where}, {member.name}",
                        found=f"{member.size:,} bytes",
                        expected=f"at most {max_member_bytes:,}",
                    )
                reader = archive.extractfile(member)
                content = reader.read() if reader is not None else b""
                if len(content) != member.size:
                    raise EOFError("the last member is cut off")
                yield member.name, content
                last = member.name
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise SourceError(
            "damaged archive",
            where=where,
            found=f"{error or type(error).__name__}, after {last}",
            expected="a whole gzip tar",
            fix="Download it again and compare its md5.",
        ) from error
