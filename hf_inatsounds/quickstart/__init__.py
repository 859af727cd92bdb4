"""A small dataset in the exact official layout, made at run time from synthesised calls.

It is what ``quickstart`` and the tests run on: nothing is downloaded and no recording is shipped. Its
species are invented, so that nobody takes a result on it for one on nature.
"""

from __future__ import annotations

from hf_inatsounds.quickstart.archive import make_archives

__all__ = ["make_archives"]
