"""A gzip file as a forward stream, bounded in memory and in what a small file may swell to."""

from __future__ import annotations

from typing import IO, Any

from isal import isal_zlib

from hf_inatsounds.errors import SourceError

READ_BYTES = 256 << 10
"""Compressed bytes asked for at a time."""

PIECE_BYTES = 1 << 20
"""Decompressed bytes made at a time, whatever the compressed ones claim."""

MAX_RATIO = 100
"""Decompressed bytes a compressed one. WAV reaches 2; deflate's limit, which only a bomb nears, is 1,032."""

SLACK_BYTES = 1 << 30
"""Decompressed bytes that are always allowed: minutes of silence compress a thousandfold, and are no bomb."""

_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 31


def require_no_bomb(
    where: str, made: int, read: int, *, max_ratio: int = MAX_RATIO, slack_bytes: int = SLACK_BYTES
) -> None:
    """Refuse an archive of which ``read`` compressed bytes have swollen to ``made``.

    Raises:
        SourceError: if that is more than ``max_ratio`` times as many, beyond the first ``slack_bytes``.
    """
    if made > slack_bytes + max_ratio * read:
        raise SourceError(
            "archive swells like a bomb",
            where=where,
            found=f"{made:,} bytes out of {read:,}",
            expected=f"at most {max_ratio} times as many, beyond the first {slack_bytes:,}",
        )


class GzipReader:
    """Reads a gzip file of one or several members, checking each one's checksum.

    What follows the last member is no data: zeros are padding, anything else is counted in
    ``trailing_bytes`` and left alone, as gzip itself does.

    Args:
        stream: the compressed file; it need not be seekable.
        where: its name, for errors.
        max_ratio: decompressed bytes a compressed one, above ``slack_bytes``.
        slack_bytes: decompressed bytes that are always allowed.

    Raises (from every method):
        EOFError: if the file ends within a member.
        isal_zlib.error: if a member is damaged, or there is none.
        SourceError: if it swells beyond the limit.
    """

    def __init__(
        self, stream: IO[bytes], *, where: str, max_ratio: int = MAX_RATIO, slack_bytes: int = SLACK_BYTES
    ) -> None:
        self.where = where
        self.compressed_bytes = 0
        self.decompressed_bytes = 0
        self.trailing_bytes = 0
        self.at_end = False
        self._stream = stream
        self._max_ratio, self._slack_bytes = max_ratio, slack_bytes
        self._members = 0
        self._member: Any | None = None
        self._input = b""
        self._piece = b""
        self._position = 0

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer only at the end."""
        available = len(self._piece) - self._position
        if size <= available:  # a header: nearly always
            self._position += size
            return self._piece[self._position - size : self._position]
        parts = []
        while size and (available or self._next_piece()):
            part = self._piece[self._position : self._position + size]
            self._position += len(part)
            size -= len(part)
            available = len(self._piece) - self._position
            parts.append(part)
        return b"".join(parts)

    def skip(self, size: int) -> int:
        """Pass over ``size`` bytes, keeping none; returns how many there were."""
        left = size
        while left and (self._position < len(self._piece) or self._next_piece()):
            step = min(left, len(self._piece) - self._position)
            self._position += step
            left -= step
        return size - left

    def finish_member(self, limit: int) -> None:
        """Go to the end of the gzip member that is being read, where its checksum is; at most ``limit`` bytes."""
        while self._member is not None and limit > 0:
            limit -= len(self._decompress())
        self._piece, self._position = b"", 0

    def _next_piece(self) -> bool:
        """Decompress some more; False at the end."""
        while not self.at_end:
            if self._member is None and not self._begin_member():
                break
            piece = self._decompress()
            if piece:
                self._piece, self._position = piece, 0
                return True
        self._piece, self._position = b"", 0
        return False

    def _decompress(self) -> bytes:
        if not self._input:
            self._fill()
            if not self._input:
                raise EOFError("the file ends within the gzip stream")
        member = self._member
        if member is None:  # for the type checker: the caller began one
            return b""
        piece = member.decompress(self._input, PIECE_BYTES)
        self._input = member.unused_data if member.eof else member.unconsumed_tail
        if member.eof:
            self._member = None
        self.decompressed_bytes += len(piece)
        limits = {"max_ratio": self._max_ratio, "slack_bytes": self._slack_bytes}
        require_no_bomb(self.where, self.decompressed_bytes, self.compressed_bytes, **limits)
        return piece

    def _begin_member(self) -> bool:
        """Start on the next gzip member; False where there is no other."""
        if self._members:
            while not self._input.strip(b"\0"):
                self._input = b""
                self._fill()
                if not self._input:
                    self.at_end = True
                    return False
            self._input = self._input.lstrip(b"\0")
        while len(self._input) < len(_MAGIC) and self._fill():
            pass
        if self._members and self._input[:2] != _MAGIC:
            self._count_trailing()
            return False
        self._member = isal_zlib.decompressobj(_GZIP_WBITS)
        self._members += 1
        return True

    def _count_trailing(self) -> None:
        self.at_end = True
        while True:
            self.trailing_bytes += len(self._input)
            self._input = b""
            if not self._fill():
                return

    def _fill(self) -> bool:
        more = self._stream.read(READ_BYTES)
        self.compressed_bytes += len(more)
        self._input += more
        return bool(more)
