"""A trained model on the Hub: private unless asked otherwise, with its card, and without anything of the recordings."""

from __future__ import annotations

from pathlib import Path

from hf_inatsounds.cards import results_of, write_card
from hf_inatsounds.errors import CheckpointError, PublishError
from hf_inatsounds.identity import checkpoint_digest, file_digest, read_record

MODEL = (
    "README.md", "config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json",
    "label_space.json", "inatsounds.json",
)  # fmt: skip
"""What of a checkpoint goes to the Hub: nothing to resume from."""


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


def push_model(run_dir: str | Path, repo_id: str, *, public: bool = False) -> str:
    """Render the card of an evaluated run and upload both.

    Args:
        run_dir: what ``train`` wrote, with an evaluation in it or below it.
        repo_id: ``owner/name``.
        public: whether a new repository is public; one that is there has to be as asked.

    Returns:
        The commit's address.

    Raises:
        CheckpointError: if the folder holds no model.
        ScoresError: if it holds no results.
        PublishError: if the repository has the other visibility, or the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.utils import disable_progress_bars

    run_dir = Path(run_dir)
    if not (run_dir / "config.json").exists():
        raise CheckpointError("no model to push", where=run_dir, found="no config.json", expected="what train wrote")
    write_card(run_dir, model_id=repo_id)
    disable_progress_bars()
    api = HfApi(library_name="hf-inatsounds")
    try:
        api.create_repo(repo_id, private=not public, exist_ok=True)
        is_private = bool(api.repo_info(repo_id).private)
        if is_private == public:
            raise PublishError(
                f"the repository is {'private' if is_private else 'public'}", where=repo_id,
                expected=f"a {'public' if public else 'private'} one",
                fix="Push to another one, or set hub_public as it is.",
            )  # fmt: skip
        message = "Model, recipe and card"
        done = api.upload_folder(
            repo_id=repo_id, folder_path=run_dir, allow_patterns=pushed_files(run_dir), commit_message=message
        )
    except (HfHubHTTPError, OSError) as error:
        raise PublishError(
            "the Hub did not take the model", where=repo_id, found=error, fix=f"The run is whole in {run_dir}."
        ) from error
    return str(done.commit_url)
