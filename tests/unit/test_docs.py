"""What the pages say is so: links lead somewhere, commands have the flags, messages are the product's."""

import re
import shlex
from pathlib import Path

import pytest

from hf_inatsounds.cli.main import parser
from hf_inatsounds.cli.train import split_flags, split_processes
from hf_inatsounds.training.arguments import make_recipe
from hf_inatsounds.training.recipe import KEYS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


VARYING = (
    r"torchcodec with FFmpeg |^a former |^a key in the recipe| … | 1 of 2 |SIGKILL|^train |torch, |: found 'epochs'"
)
"""What stands in a message by the way it is put together: names, numbers, kinds."""


def anchors(page):
    """Of the headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        assert other.exists(), target
        assert not anchor or anchor in anchors(other), target


def commands(page):
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line.split(" > ")[0], comments=True)
            if words[:1] == ["hf-inatsounds"]:
                yield words[1:]
            elif any(word.endswith("train/finetune.py") for word in words):
                place = next(i for i, word in enumerate(words) if word.endswith("train/finetune.py"))
                yield ["train", *words[place + 1 :]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_the_flags_that_the_page_gives_them(page):
    for words in commands(page):
        arguments, unknown = parser().parse_known_args([word for word in words if word != "[...]"])
        assert unknown == [], words
        if arguments.command == "train":
            _, keys = split_flags(split_processes(arguments.keys)[1])
            assert set(keys) <= set(KEYS), words
            plain = {key: value for key, value in keys.items() if value not in ("S", "R")}
            make_recipe({"label_smoothing_factor": 0.0}, where="a page", flags=plain)


def test_messages_of_the_troubleshooting_page_are_the_products():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "hf_inatsounds").rglob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)  # texts that go on in the next line
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    told = [
        " ".join(message.split()) for told in re.findall(r"^\*\*(.+?)\*\*", page, re.MULTILINE | re.DOTALL)
        for message in re.findall(r"`([^`]+)`", told)
    ]  # fmt: skip
    assert len(told) > 15
    for message in told:
        # what stands in braces in the source: a name, a number
        parts = re.split(VARYING, message)
        assert all(part.strip() in source for part in parts), message
