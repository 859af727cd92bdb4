"""Sealed windows: a seek point's 32 KiB of decompressed data, readable only beside the archive it is from.

    key     = HKDF-SHA256(the 4 KiB of the compressed archive before the point)
    nonce   = the first 12 bytes of HMAC-SHA256(key, zlib(window))
    sealed  = nonce ‖ AES-256-GCM(key, nonce, zlib(window), associated data = the point)

The nonce depends on what is sealed, so that the same key never meets two messages under one nonce, and the same
archive gives the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from isal import isal_zlib

from hf_inatsounds.archives.deflate import ERRORS, WINDOW_BYTES, Point
from hf_inatsounds.errors import SourceError

KEY_BYTES = 4 << 10
"""Compressed bytes before a point from which its key is derived."""

_NONCE_BYTES = 12
_LABEL = b"hf-inatsounds seek point, version 1"


def key_start(point: Point) -> int:
    """Where the bytes begin that a reader needs from the archive to open and use ``point``."""
    return max(point.at - KEY_BYTES, 0)


def seal(window: bytes, point: Point, before: bytes) -> bytes:
    """Seal a window.

    Args:
        window: the decompressed data before the point.
        point: where.
        before: the archive's bytes from :func:`key_start` to the point.
    """
    key = _key(before)
    content = isal_zlib.compress(window, 3)  # as small as zlib's level 6, seven times as fast
    nonce = hmac.digest(key, content, "sha256")[:_NONCE_BYTES]
    return nonce + AESGCM(key).encrypt(nonce, content, _about(point))


def unseal(sealed: bytes, point: Point, before: bytes, *, where: str) -> bytes:
    """The window that :func:`seal` sealed.

    Raises:
        SourceError: if the index was changed or is of another archive.
    """
    try:
        content = AESGCM(_key(before)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _about(point))
        inflater = isal_zlib.decompressobj()
        window = inflater.decompress(content, WINDOW_BYTES + 1)
    except (InvalidTag, ValueError, *ERRORS) as error:
        raise SourceError(
            "the seek index does not fit the archive",
            where=f"{where}, byte {point.at:,}",
            found="a sealed window that does not open",
            expected="the archive that was indexed, and an index as it was built",
            fix="Compare the archive's md5, or build the index again: hf-inatsounds index SOURCE --out DIR",
        ) from error
    return window


def digest(content: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(content).hexdigest()


def _key(before: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=_LABEL).derive(before)


def _about(point: Point) -> bytes:
    return _LABEL + struct.pack("<QQB", point.out, point.at, point.bits)
