"""A checkpoint's folder: the one that is named, or what is needed of a Hub repository."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_inatsounds.errors import CheckpointError
from hf_inatsounds.models.weights import no_weights, shards, weights_file

SETTINGS = (
    "config.json", "preprocessor_config.json", "processor_config.json", "label_space.json", "inatsounds.json",
    "train.json",
)  # fmt: skip
"""What is fetched of a Hub repository besides one set of weights."""


def checkpoint_folder(checkpoint: str | Path, *, revision: str | None = None, subfolder: str | None = None) -> Path:
    """The folder of a checkpoint, fetched from the Hub if need be: settings and one set of weights, nothing else.

    Args:
        checkpoint: a folder, or a Hub model id.
        revision: branch, tag or commit of a Hub repository; None for its main branch.
        subfolder: where in the folder or repository it is; None for its top.

    Raises:
        CheckpointError: if it is not there, not to be had, or no checkpoint.
    """
    folder = Path(checkpoint).expanduser()
    if folder.is_dir():
        if revision:
            raise CheckpointError("a folder has no revisions", where=folder, found=revision, expected="a Hub id")
        return _checked(folder / subfolder if subfolder else folder)
    name = str(checkpoint)
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or not all(name.split("/")):
        raise CheckpointError("no such checkpoint", where=checkpoint, expected="a folder, or a Hub id (owner/name)")
    if "@" in name:
        repo, _, wanted = name.partition("@")
        raise CheckpointError("no such checkpoint", where=name, fix=f"Give {repo} and the revision {wanted} by itself.")
    return _checked(_fetched(name, revision or None, (subfolder or "").strip("/")))


def commit_of(folder: Path) -> str | None:
    """The commit of a folder that was fetched from the Hub; None for any other."""
    parts = folder.resolve().parts
    at = len(parts) - 1 - parts[::-1].index("snapshots") if "snapshots" in parts else len(parts)
    fetched = at + 1 < len(parts) and parts[at - 1].startswith("models--")
    return parts[at + 1] if fetched else None


def _checked(folder: Path) -> Path:
    if (folder / "config.json").is_file():
        return folder
    inside = sorted(path.parent.name for path in folder.glob("checkpoint-*/config.json"))
    fix = f"It holds {', '.join(inside)}: name one of them." if inside else None
    found = "no config.json"
    if (folder / "adapter_config.json").is_file():
        found, fix = "a PEFT adapter", "Merge it into its model (merge_and_unload) and save that."
    raise CheckpointError("not a checkpoint", where=folder, found=found, expected="what train wrote", fix=fix)


def _fetched(repo_id: str, revision: str | None, subfolder: str) -> Path:
    from huggingface_hub import HfApi

    api = HfApi(library_name="hf-inatsounds")
    under = f"{subfolder}/" if subfolder else ""
    with _refusals_named(repo_id, revision):
        names = _names(api, repo_id, revision)
        if names is None:  # the Hub is out of reach: what was fetched before serves
            patterns = [glob.escape(f"{under}config.json")]
            here = api.snapshot_download(repo_id, revision=revision, allow_patterns=patterns, local_files_only=True)
            return Path(here) / subfolder
        files = _needed(api, repo_id, revision, names, under)
        patterns = [glob.escape(name) for name in files]
        return Path(api.snapshot_download(repo_id, revision=revision, allow_patterns=patterns)) / subfolder


def _names(api: Any, repo_id: str, revision: str | None) -> set[str] | None:
    """Files of a repository; None where the Hub cannot be reached."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    try:
        return {one.rfilename for one in api.model_info(repo_id, revision=revision).siblings or []}
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code >= 500:
            return None
        raise
    except (OfflineModeIsEnabled, HTTPError):
        return None


def _needed(api: Any, repo_id: str, revision: str | None, names: set[str], under: str) -> list[str]:
    """Settings, and the one set of weights that is read."""
    here = {name.removeprefix(under) for name in names if name.startswith(under)}
    where = f"{repo_id}/{under}".rstrip("/")
    if "config.json" not in here:
        held = "a PEFT adapter" if "adapter_config.json" in here else "no config.json"
        folders = sorted({name.rpartition("/")[0] for name in names if name.endswith("/config.json")})
        fix = f"It has one in {', '.join(folders)}: give that as the subfolder." if folders and not under else None
        raise CheckpointError("not a checkpoint", where=where, found=held, expected="a transformers model", fix=fix)
    first = weights_file(here)
    if first is None:
        raise no_weights(where, here)
    files = [name for name in SETTINGS if name in here] + [first]
    if first.endswith(".index.json"):
        files += shards(Path(api.hf_hub_download(repo_id, under + first, revision=revision)))
    missing = [name for name in files if name not in here]
    if missing:
        raise CheckpointError("a part of the weights is missing", where=f"{where}/{missing[0]}", expected=first)
    return [under + name for name in files]


@contextlib.contextmanager
def _refusals_named(repo_id: str, revision: str | None) -> Iterator[None]:
    """What the Hub answers, as one line that says what to do; no token is ever part of it."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    login = "Log in with hf auth login"
    try:
        yield
    except GatedRepoError as error:
        raise CheckpointError(
            "the repository is gated", where=repo_id, found="no access with this login, or none",
            fix=f"Accept its terms at {constants.ENDPOINT}/{repo_id}, then log in with hf auth login.",
        ) from error  # fmt: skip
    except RevisionNotFoundError as error:
        raise CheckpointError("no such revision", where=repo_id, found=repr(revision or "main")) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            "no such folder, and no such repository on the Hub", where=repo_id, fix=f"{login} if it is a private one."
        ) from error
    except LocalEntryNotFoundError as error:
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
        raise CheckpointError(
            "no such folder, and nothing of it in the Hub's cache", where=repo_id, found=offline,
            fix="Fetch it where there is a connection, or name a folder.",
        ) from error  # fmt: skip
    except HFValidationError as error:
        raise CheckpointError("no such checkpoint", where=repo_id, expected="a folder, or owner/name") from error
    except (HTTPError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        fix = f"{login}; the token that was sent is refused." if status in (401, 403) else None
        found = f"the Hub answers {status}" if status else f"{type(error).__name__}: {error}"
        raise CheckpointError("not to be had from the Hub", where=repo_id, found=found, fix=fix) from error
