"""Imports follow the flow of the data, and nothing heavy is imported early."""

import ast
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "hf_inatsounds"

# what stands further down may import what stands further up, never the other way
ORDER = (
    "errors", "files", "fingerprints", "progress", "schema", "runtime", "archives", "audio", "data",
    "objectives",
    "frontends", "augmentation", "models", "metrics", "scoring", "geo", "evaluation", "reports", "training",
    "inference", "downstream", "verification", "publishing", "evaluate_modules", "quickstart", "cli",
)  # fmt: skip


def modules() -> dict[str, Path]:
    """Every module by its full name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def own_imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, in whichever form and wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in below]
        found |= {name for name in names if name.split(".")[0] == "hf_inatsounds"}
    return found


def room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def test_every_form_of_import_is_seen(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        "from hf_inatsounds import cli\nimport hf_inatsounds.geo\ndef f():\n from hf_inatsounds.data import labels"
    )
    assert own_imports(path) == {"hf_inatsounds.cli", "hf_inatsounds.geo", "hf_inatsounds.data.labels"}


def test_imports_follow_the_flow():
    wrong = []
    for module, path in MODULES.items():
        if module == "hf_inatsounds":
            continue
        assert room(module) in ORDER, f"{path} has no place in the order"
        above = [other for other in own_imports(path) if room(other)]
        wrong += [f"{module} imports {o}" for o in above if ORDER.index(room(o)) > ORDER.index(room(module))]
    assert wrong == []


def test_no_module_imports_itself_by_a_detour():
    graph = {module: own_imports(path) - {module} for module, path in MODULES.items()}
    # a package's own file hands out names of its modules, which import one another by their full names
    graph = {module: {o for o in others if not module.startswith(f"{o}.")} for module, others in graph.items()}
    done: set[str] = set()
    circles = []

    def visit(module: str, path: tuple[str, ...]) -> None:
        if module in path:
            circles.append(" → ".join((*path[path.index(module) :], module)))
        elif module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())
    assert circles == []


def test_the_package_is_read_from_its_folder():
    assert len([p for p in PACKAGE.iterdir() if p.name != "__pycache__"]) <= 28


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
    assert not loaded_by("import hf_inatsounds.reports.model_card") & {
        "torch",
        "soundfile",
        "transformers",
    }


def test_modules_are_small():
    long = {
        str(p.relative_to(PACKAGE)): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 300
    }
    assert long == {}
