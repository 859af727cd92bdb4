"""What the Hub answers instead of what was asked for, as one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hf_inatsounds.data.mirror import HTTP_LIBRARIES
from hf_inatsounds.errors import PublishError


@contextlib.contextmanager
def as_publish_errors(repo_id: str) -> Iterator[None]:
    """The Hub's errors as one line; their texts hold no token."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    login = "Log in with a token that may write: hf auth login"
    again = "Run the command again: what is there is kept."
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise PublishError("not logged in to the Hub", where=repo_id, fix=login) from error
    except HFValidationError as error:
        raise PublishError("bad repository id", where=repo_id, found=error, expected="owner/name") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        fix = login if status in (401, 403) else again
        raise PublishError("the Hub refused", where=repo_id, found=_first_line(error), fix=fix) from error
    except (OSError, RuntimeError, ValueError) as error:
        reasons = [_first_line(one) for one in (error, error.__cause__) if one is not None]
        raise PublishError("upload failed", where=repo_id, found=": ".join(reasons), fix=again) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] not in HTTP_LIBRARIES:
            raise
        raise PublishError("the Hub is not reachable", where=repo_id, found=_first_line(error), fix=again) from error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
