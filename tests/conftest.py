"""Shared fixtures. Nothing here or below reaches beyond loopback."""

import os
import tempfile
from pathlib import Path

_CACHE = tempfile.mkdtemp(prefix="hf-inatsounds-tests-")
os.environ["HF_HOME"] = _CACHE  # before datasets and huggingface_hub are imported: they read it then
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"  # nobody: what would ask the Hub fails at once
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import shutil  # noqa: E402

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

settings.register_profile("untimed", deadline=None)  # no test depends on how busy the machine is
settings.load_profile("untimed")

SHARED = Path(os.environ.get("INATSOUNDS_SHARED") or Path(__file__).resolve().parents[2] / "shared")


def pytest_sessionfinish() -> None:
    shutil.rmtree(_CACHE, ignore_errors=True)


def shared_path(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs ../shared/{name}, which is not here")
    return path


@pytest.fixture(scope="session")
def golden() -> Path:
    return shared_path("golden")


@pytest.fixture(scope="session")
def animals() -> Path:
    return shared_path("data/animals")


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded archive, made once."""
    from hf_inatsounds.quickstart import make_archives

    return make_archives(tmp_path_factory.mktemp("embedded"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three species, a dozen short recordings a split: for runs of seconds."""
    from tests.helpers.archive import write_source

    return write_source(tmp_path_factory.mktemp("tiny"))
