"""Bytes in: where a source's files are, and what an archive holds. Nothing here knows of audio."""
