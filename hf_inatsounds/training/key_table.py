"""The keys of a recipe as ``train --help`` and docs/recipes.md show them.

Importing transformers takes seconds; so the table is made once from the dataclasses, by
``python -m hf_inatsounds.training.key_table``, and a test compares the two.
"""

from __future__ import annotations

import functools
import json
import textwrap
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("keys.json")
TITLES = {
    "data": "The data", "model": "The model", "objective": "The objective and augmentation",
    "training": "The run: transformers' TrainingArguments", "passed": "Passed to transformers as they are",
}  # fmt: skip


@functools.cache
def read_table() -> list[dict[str, Any]]:
    """Every key: its group, name, default as YAML, limits, help, and whether it is true or false."""
    return list(json.loads(TABLE.read_text(encoding="utf-8")))


def is_switch(name: str) -> bool:
    """Whether a key may be given without a value, for true.

    >>> is_switch("bf16"), is_switch("seed")
    (True, False)
    """
    return any(key["name"] == name and key["switch"] for key in read_table())


def help_text() -> str:
    """All keys with their defaults, limits and help, group by group."""
    lines = []
    for group, title in TITLES.items():
        lines += ["", f"{title}:"]
        for key in (one for one in read_table() if one["group"] == group):
            named = f"  --{key['name']} {key['default']}".rstrip()
            told = f"{key['help']} {key['limits']}".strip()
            wrapped = textwrap.wrap(told, 78) or [""]
            lines += [f"{named:40} {wrapped[0]}" if len(named) <= 40 else f"{named}\n{'':40} {wrapped[0]}"]
            lines += [f"{'':40} {line}" for line in wrapped[1:]]
    return "\n".join(lines[1:])


def make_table() -> list[dict[str, Any]]:
    """The table, from the dataclasses."""
    from hf_inatsounds.training.recipe import KEYS, to_yaml
    from hf_inatsounds.training.run_arguments import HONOURED

    made = []
    for name, key in KEYS.items():
        default = to_yaml({"x": key.default}).removeprefix("x:").strip()
        limits = f"({str(key.range).capitalize()}.)" if key.range else ""
        if key.range and key.range.high >= 10**6:  # no limit that anybody would come near
            limits = f"(At least {key.range.low:g}.)" if key.range.low > 0 else ""
        if key.choices:
            limits = f"(One of {', '.join(key.choices)}.)" if len(key.choices) <= 12 else ""
        made.append({
            "group": "passed" if name in HONOURED else key.part,
            "name": name,
            "default": "" if default in ("''", "null") else default,
            "limits": limits,
            "help": " ".join(key.help.split(". ")[0].rstrip(".").split()) + "." if name in HONOURED else key.help,
            "switch": bool in key.kinds and str not in key.kinds,
        })  # fmt: skip
    return made


def markdown() -> str:
    """The keys, and transformers' arguments that a run does not take, as docs/recipes.md has them."""
    from hf_inatsounds.training.run_arguments import REFUSED

    lines = []
    for group, title in TITLES.items():
        lines += [f"### {title}", "", "| key | default | |", "|---|---|---|"]
        for key in (one for one in make_table() if one["group"] == group):
            told = f"{key['help']} {key['limits']}".strip().replace("|", "\\|")
            lines.append(f"| `{key['name']}` | {key['default']} | {told} |")
        lines.append("")
    lines += ["### Arguments of transformers that a run does not take", "", "| argument | why |", "|---|---|"]
    lines += [f"| `{name}` | {why} |" for name, why in REFUSED.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table, and docs/recipes.md's where this is a checkout."""
    TABLE.write_text(json.dumps(make_table(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    docs = Path(__file__).parents[2] / "docs" / "recipes.md"
    if docs.is_file():
        before, _, rest = docs.read_text(encoding="utf-8").partition(BEGIN)
        docs.write_text(before + BEGIN + "\n\n" + markdown() + "\n" + END + rest.partition(END)[2], encoding="utf-8")


BEGIN, END = "<!-- keys: made by python -m hf_inatsounds.training.key_table -->", "<!-- end of keys -->"

if __name__ == "__main__":
    main()
