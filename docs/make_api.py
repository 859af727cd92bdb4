"""The API reference, from the docstrings: ``python docs/make_api.py build/api`` (``make api``)."""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import hf_inatsounds

MODULES = ("audio", "data.labels", "errors", "frontends", "geo", "metrics", "models.classifier", "schema")
"""What docs/python.md leads to, beside the names of the package itself."""


def make(folder: Path) -> None:
    """Write the pages.

    Raises:
        SystemExit: if a public name has no entry.
    """
    for name in hf_inatsounds.__all__:
        setattr(hf_inatsounds, name, getattr(hf_inatsounds, name))  # pdoc looks only at what is there already
    pdoc.render.configure(docformat="google", show_source=False, search=False)
    pdoc.pdoc("hf_inatsounds", *(f"hf_inatsounds.{name}" for name in MODULES), output_directory=folder)
    page = (folder / "hf_inatsounds.html").read_text(encoding="utf-8")
    lacking = [name for name in hf_inatsounds.__all__ if f'id="{name}"' not in page]
    if lacking:
        sys.exit(f"no entry for {', '.join(lacking)}")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
