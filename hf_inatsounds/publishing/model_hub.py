"""A trained model on the Hub: private unless asked otherwise, with its card, and without anything of the recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import CheckpointError, PublishError
from hf_inatsounds.fingerprints import checkpoint_digest, file_digest, read_record
from hf_inatsounds.publishing.hub_errors import as_publish_errors
from hf_inatsounds.publishing.hub_repository import HubRepository, Kind
from hf_inatsounds.publishing.hub_state import HubState
from hf_inatsounds.reports.model_card import results_of, write_card

MODEL = (
    "README.md", "config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json",
    "label_space.json", "inatsounds.json",
)  # fmt: skip
"""What of a checkpoint goes to the Hub: nothing to resume from."""

PUSHED_FILE = "pushed.json"
"""Size and SHA-256 of every file that the last push put there. The next one replaces and deletes these and no others:
transformers would read one file of weights of the push before rather than the new shards beside it."""

MODEL_REPOSITORY = Kind("model", "model", PUSHED_FILE)


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


def open_repository(
    repo_id: str, *, public: bool = False, create: bool = True, replace_card: bool = False
) -> HubRepository:
    """Create the model's repository, or make sure that the one that is there may be written and is as public as asked.

    Asked before a run begins: who has no right to push learns it then, and not after a day of training.

    Args:
        repo_id: ``owner/name``.
        public: whether it is to be public.
        create: False looks at a repository that is there, and makes none.
        replace_card: whether a card that was changed by hand may be written over.

    Raises:
        PublishError: without a token, with one that the Hub does not know or that may not write there, or if the
            repository has the other visibility, holds something else than a model that was pushed from here, or a card
            that was changed by hand. No token is ever part of it.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import disable_progress_bars

    if get_token() is None:
        raise PublishError("not logged in to the Hub", where=repo_id, fix=MAY_NOT_WRITE)
    disable_progress_bars()
    repository = HubRepository(repo_id, MODEL_REPOSITORY, public=public, replace_card=replace_card)
    api = _api()
    with as_publish_errors(repo_id):
        api.whoami()
        if create:
            repository.create()
        elif not api.repo_exists(repo_id):
            return repository
        is_private = bool(api.repo_info(repo_id).private)
    if is_private == public:
        raise PublishError(
            f"the repository is {'private' if is_private else 'public'}", where=repo_id,
            expected=f"a {'public' if public else 'private'} one",
            fix="Push to another one, or say as it is: --public, or hub_private_repo: false in a recipe.",
        )  # fmt: skip
    _check_writable(api, repo_id)
    repository.look()
    return repository


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


def push_model(run_dir: str | Path, repo_id: str, *, public: bool = False, replace_card: bool = False) -> str:
    """Render the card of an evaluated run and upload both; the repository's files of an earlier push are replaced.

    All in one commit. Files that others put into the repository stay as they are.

    Args:
        run_dir: what ``train`` wrote, with an evaluation in it or below it.
        repo_id: ``owner/name``.
        public: whether a new repository is public; one that is there has to be as asked.
        replace_card: whether a card that was changed by hand is written over.

    Returns:
        The commit's address.

    Raises:
        CheckpointError: if the folder holds no model.
        ScoresError: if it holds no results.
        PublishError: as :func:`open_repository`, or if the Hub refuses the upload.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import filter_repo_objects

    run_dir = Path(run_dir)
    if not (run_dir / "config.json").exists():
        raise CheckpointError("no model to push", where=run_dir, found="no config.json", expected="what train wrote")
    write_card(run_dir, model_id=repo_id)
    repository = open_repository(repo_id, public=public, replace_card=replace_card)
    there = (path.relative_to(run_dir).as_posix() for path in sorted(run_dir.rglob("*")) if path.is_file())
    records = [
        {"path": name, "size": (run_dir / name).stat().st_size, "sha256": file_digest(run_dir / name)}
        for name in filter_repo_objects(there, allow_patterns=pushed_files(run_dir))
    ]
    pushed = {"fingerprint": checkpoint_digest(run_dir) or "", "files": records}
    content = (json.dumps(pushed, indent=2) + "\n").encode()

    def operations(state: HubState) -> list[Any]:
        added = [one["path"] for one in records if not state.holds(one, run_dir / one["path"])]
        repository.require_ours(state, added)
        return [
            *(repository.addition(run_dir.joinpath, path) for path in added),
            CommitOperationAdd(PUSHED_FILE, content),
            *(CommitOperationDelete(path) for path in state.stale(one["path"] for one in records)),
        ]

    return repository.commit(operations, "Model, recipe and card")
