"""Imports follow the flow of the data, and nothing heavy is imported early."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "hf_inatsounds"

# what stands further down may import what stands further up, never the other way
ORDER = (
    "errors", "overrides", "launching", "devices", "launched", "files", "identity", "fingerprints", "progress",
    "schema", "labels", "archives", "annotation_json", "annotations", "prepared", "summary", "wav", "flac",
    "encoded", "stand_ins", "rewritten", "audio", "windows", "hearing", "resampling", "defects", "digests",
    "playable", "decoding", "ordering", "recordings", "indexed", "passed_over", "mirrors", "builder",
    "verification", "publishing", "objectives", "frontends", "augmentation", "presets", "input_length",
    "model_input", "heads", "weights", "hub_checkpoints", "loading", "checkpoints", "finetuning", "repairs",
    "models", "metrics", "evaluate_modules", "geo", "scoring", "evaluation", "comparison", "reports",
    "source_reports", "embedded", "training", "inference", "downstream", "cards", "model_hub", "quickstart", "cli",
)  # fmt: skip


def own_imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name and name.startswith("hf_inatsounds.")}
    return found


def test_imports_follow_the_flow():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts == ("__init__",):
            continue
        room = parts[0]
        assert room in ORDER, f"{path} has no place in the order"
        wrong += [f"{room} imports {other}" for other in own_imports(path) if ORDER.index(other) > ORDER.index(room)]
    assert wrong == []


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert not loaded_by("import hf_inatsounds") & {"torch", "datasets", "transformers", "numpy", "pyarrow"}


def test_the_command_lines_help_loads_nothing_heavy():
    loaded = loaded_by("from hf_inatsounds.cli.main import parser; parser()")
    assert not loaded & {"torch", "datasets", "transformers", "numpy", "pyarrow"}


def test_cards_and_reports_need_neither_a_model_nor_metrics():
    assert not loaded_by("import hf_inatsounds.cards, hf_inatsounds.reports") & {"torch", "soundfile", "transformers"}


def test_modules_are_small():
    long = {
        str(p.relative_to(PACKAGE)): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 300
    }
    assert long == {}
