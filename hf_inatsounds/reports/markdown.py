"""Markdown from templates: the cards of models and of mirrors."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def render_markdown(package: str, template: str, **values: Any) -> str:
    """A template's text with its values; the Hub sanitises what it renders, so that nothing is escaped.

    Args:
        package: that holds the template.
        template: its path within the package.
        values: what the template names; a missing one is an error.
    """
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # Markdown, not HTML
    )
    text = files(package).joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)
