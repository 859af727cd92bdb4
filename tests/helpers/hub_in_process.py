"""huggingface_hub of this very process, talking to a Hub on loopback: a child process would take eight seconds."""

from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.helpers.hub_storage import Hub


def talk_to(hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the variables of ``hub.environment`` say when the library is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
