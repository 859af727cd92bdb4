"""Passwords and signatures of URLs are in no file of a run, and a renewed signature is no other source."""

import pytest

from hf_inatsounds import evaluate
from hf_inatsounds.cli.main import main
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.publishing.model_hub import pushed_files
from hf_inatsounds.training.records import check_resumable
from hf_inatsounds.training.run import train
from tests.helpers.archive_server import archive_server
from tests.helpers.training import small_recipe

SECRET = "X-Amz-Signature=deadbeef"


def files_with(secret, folder):
    return [
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()
    ]


@pytest.mark.parametrize("streaming", [True, False])
def test_a_signature_is_stored_nowhere(tiny, tmp_path, capsys, streaming):
    run = tmp_path / "run"
    with archive_server(tiny) as server:
        server.query = f"{SECRET}1"
        place = server.url
        first = small_recipe(f"{place}?{server.query}", run, num_train_epochs=1, streaming=streaming)
        train(first, quiet=True)
        results = evaluate(run, f"{place}?{server.query}", quiet=True)
        server.query = f"{SECRET}2"
        again = evaluate(run, f"{place}?{server.query}", quiet=True)
        assert main(["annotations", f"{place}?{server.query}", "--json"]) == 0
    assert again["metrics"] == results["metrics"]
    said = capsys.readouterr()
    assert "deadbeef" not in said.out + said.err
    assert files_with(b"deadbeef", tmp_path) == []
    assert {"recipe.yaml", "origin.json"} <= set(pushed_files(run))
    check_resumable(small_recipe(f"{place}?{server.query}", run, num_train_epochs=1, streaming=streaming))
    if streaming:
        with pytest.raises(RecipeError, match="source"):
            check_resumable(small_recipe(f"{place}/other", run, num_train_epochs=1, streaming=True))
