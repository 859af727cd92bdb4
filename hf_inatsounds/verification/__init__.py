"""Whether a source is whole: checksums, every member read, defects by kind, files against annotations."""

from hf_inatsounds.verification.run import verify

__all__ = ["verify"]
