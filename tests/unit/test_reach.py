"""Nothing public is kept for its tests alone: a command, a module or a reader of the documentation reaches it."""

import ast
import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import hf_inatsounds

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hf_inatsounds"
USERS = ("hf_inatsounds", "train", "loading_script")

FILE, DATASETS, TRAINER = "io calls it", "datasets' IterableDataset calls it", "transformers' Trainer calls it"
EVALUATE, COMMAND = "evaluate.load finds it in its module", "cli.main calls it on the module of the command"
ALLOWED: dict[str, str] = {
    "archives.compressed.View.seekable": FILE,
    "audio.opening.Reheaded.readable": FILE,
    "audio.opening.Reheaded.seekable": FILE,
    "cli.*.add_arguments": COMMAND,
    "data.indexed_stream.IndexedExamples.iter_arrow": DATASETS,
    "data.indexed_stream.IndexedExamples.num_shards": DATASETS,
    "data.indexed_stream.IndexedExamples.shuffle_data_sources": DATASETS,
    "data.indexed_stream.IndexedExamples.*shard_data_sources": DATASETS,
    "evaluate_modules.*": EVALUATE,
    "frontends.spectrogram_image.SpectrogramImageFrontend.spectrogram": "the authors' pixels, docs/decisions/0011",
    "training.trainer.CropTrainer.*": TRAINER,
}
"""Pattern of full names → why they stay though no code names them."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def public(nodes: list[ast.stmt]) -> list[Definition]:
    return [node for node in nodes if isinstance(node, Definition) and not node.name.startswith("_")]


def overrides(node: Definition) -> bool:
    """Whether a method says that a base class calls it."""
    return any(isinstance(one, ast.Name) and one.id == "override" for one in node.decorator_list)


def names_read(node: ast.AST) -> Counter[str]:
    return Counter(one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load))


def documented() -> set[str]:
    """Names in the Python examples of README and docs, and those that they name in full: ``hf_inatsounds.a.b``."""
    found = set()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            found |= set(re.findall(r"[A-Za-z_]\w*", block))
        found |= set(re.findall(r"`hf_inatsounds\.(?:\w+\.)*(\w+)`", path.read_text(encoding="utf-8")))
    return found


def uses(trees: dict[Path, ast.Module]) -> tuple[set[str], set[str]]:
    """Names that some code takes from another module, by import or through a module; and all attributes.

    An import alone uses nothing: a package's own file hands out much that nobody asks it for.
    """
    taken, attributes = set(), set()
    for tree in trees.values():
        nodes = list(ast.walk(tree))
        imported = {
            alias.asname or alias.name: alias.name
            for node in nodes
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        }
        read = names_read(tree)
        taken |= {original for name, original in imported.items() if read[name]}
        for node in nodes:
            if isinstance(node, ast.Attribute):
                attributes.add(node.attr)
                if isinstance(node.value, ast.Name) and node.value.id in imported:
                    taken.add(node.attr)
    return taken, attributes


def unreached(root: Path, users: list[Path], known: set[str]) -> set[str]:
    """Full names of what is public below ``root`` and what neither ``users`` nor ``known`` name."""
    paths = sorted(root.rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in {*paths, *users}}
    taken, attributes = uses({path: trees[path] for path in users})
    found = set()
    for path in paths:
        module, read = ".".join(path.relative_to(root).with_suffix("").parts), names_read(trees[path])
        for node in public(trees[path].body):
            if node.name not in taken | known and read[node.name] <= names_read(node)[node.name]:
                found.add(f"{module}.{node.name}")
            for one in public(node.body) if isinstance(node, ast.ClassDef) else []:
                if one.name not in attributes | known and not overrides(one):
                    found.add(f"{module}.{node.name}.{one.name}")
    return found


def test_what_only_an_import_or_itself_names_is_unreached(tmp_path):
    module, user = tmp_path / "module.py", tmp_path / "user.py"
    module.write_text(
        "def used(): return inner()\ndef inner(): pass\ndef again(): return again()\ndef handed(): pass\n"
        "class Thing:\n def asked(self): pass\n def dead(self): pass\n"
    )
    user.write_text("from module import handed, used, Thing as T\nimport module\nused()\nT().asked()\nhanded = 3\n")
    found = unreached(tmp_path, [module, user], set())
    assert found == {"module.again", "module.handed", "module.Thing.dead"}
    user.write_text(user.read_text() + "module.again()\n")
    assert unreached(tmp_path, [module, user], {"handed", "dead"}) == set()


def test_everything_public_is_reached():
    users = [path for folder in USERS for path in sorted((ROOT / folder).rglob("*.py"))]
    found = unreached(PACKAGE, users, set(hf_inatsounds.__all__) | documented())
    excused = {pattern: {name for name in found if fnmatchcase(name, pattern)} for pattern in ALLOWED}
    assert sorted(found - set().union(*excused.values())) == []
    unneeded = [pattern for pattern, names in excused.items() if not names and "*" not in pattern]
    assert unneeded == [], "allowed, and reached or gone"
