"""A trained model on the Hub: private unless asked otherwise, with its card, and without anything of the recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hf_inatsounds.cards import results_of, write_card
from hf_inatsounds.errors import CheckpointError, PublishError
from hf_inatsounds.identity import checkpoint_digest, file_digest, read_record
from hf_inatsounds.publishing.hub_errors import as_publish_errors

MODEL = (
    "README.md", "config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json",
    "label_space.json", "inatsounds.json",
)  # fmt: skip
"""What of a checkpoint goes to the Hub: nothing to resume from."""
RECORDS = (
    "recipe.yaml", "origin.json", "train.json", "report.md", "curves.png", "results.json", "*/results.json",
)  # fmt: skip
"""What else a push may have put there. The next one deletes what it does not have itself: transformers would read one
file of weights of the push before rather than the new shards beside it."""


def pushed_files(run_dir: Path) -> list[str]:
    """A run's files that go to the Hub: the model's, and those records of it that are of this very model.

    Scores of single recordings stay. So do a recipe, a report or results that were copied in from another run.
    """
    run, digest = read_record(run_dir / "train.json"), checkpoint_digest(run_dir)
    own = [str(path.relative_to(run_dir)) for path in results_of(run_dir)[0]]
    if digest is not None and run.get("checkpoint_sha256") == digest:
        files = run.get("files", {})
        same = [name for name in files if (run_dir / name).is_file() and file_digest(run_dir / name) == files[name]]
        own += ["train.json", *same]
    return [*MODEL, *own]


MAY_NOT_WRITE = "Log in with a token that may write there: hf auth login, or HF_TOKEN"


def open_repository(repo_id: str, *, public: bool = False, create: bool = True) -> None:
    """Create the model's repository, or make sure that the one that is there may be written and is as public as asked.

    Asked before a run begins: who has no right to push learns it then, and not after a day of training.

    Args:
        repo_id: ``owner/name``.
        public: whether it is to be public.
        create: False looks at a repository that is there, and makes none.

    Raises:
        PublishError: without a token, with one that the Hub does not know or that may not write there, or if the
            repository has the other visibility. No token is ever part of it.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import disable_progress_bars

    if get_token() is None:
        raise PublishError("not logged in to the Hub", where=repo_id, fix=MAY_NOT_WRITE)
    disable_progress_bars()
    api = _api()
    with as_publish_errors(repo_id):
        api.whoami()
        if create:
            api.create_repo(repo_id, private=not public, exist_ok=True)
        elif not api.repo_exists(repo_id):
            return
        is_private = bool(api.repo_info(repo_id).private)
    if is_private == public:
        raise PublishError(
            f"the repository is {'private' if is_private else 'public'}", where=repo_id,
            expected=f"a {'public' if public else 'private'} one",
            fix="Push to another one, or say as it is: --public, hub_public in a recipe.",
        )  # fmt: skip
    _check_writable(api, repo_id)


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi(library_name="hf-inatsounds")


def _check_writable(api: Any, repo_id: str) -> None:
    """``create_repo`` passes for a repository that is there and may only be read."""
    from huggingface_hub.errors import HfHubHTTPError

    with as_publish_errors(repo_id):
        try:
            api.auth_check(repo_id, write=True)
        except HfHubHTTPError as error:
            if getattr(error.response, "status_code", None) != 403:
                raise
            raise PublishError("the token may not write there", where=repo_id, fix=MAY_NOT_WRITE) from error


def push_model(run_dir: str | Path, repo_id: str, *, public: bool = False) -> str:
    """Render the card of an evaluated run and upload both; the repository's files of an earlier push are replaced.

    Args:
        run_dir: what ``train`` wrote, with an evaluation in it or below it.
        repo_id: ``owner/name``.
        public: whether a new repository is public; one that is there has to be as asked.

    Returns:
        The commit's address.

    Raises:
        CheckpointError: if the folder holds no model.
        ScoresError: if it holds no results.
        PublishError: as :func:`open_repository`, or if the Hub refuses the upload.
    """
    run_dir = Path(run_dir)
    if not (run_dir / "config.json").exists():
        raise CheckpointError("no model to push", where=run_dir, found="no config.json", expected="what train wrote")
    write_card(run_dir, model_id=repo_id)
    open_repository(repo_id, public=public)
    with as_publish_errors(repo_id):
        done = _api().upload_folder(
            repo_id=repo_id,
            folder_path=run_dir,
            allow_patterns=pushed_files(run_dir),
            delete_patterns=[*MODEL, *RECORDS],
            commit_message="Model, recipe and card",
        )
    return str(done.commit_url)
