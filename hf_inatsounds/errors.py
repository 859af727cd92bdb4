"""Errors that a user can cause, under one root. Each says what, where, found, expected, and what mends it."""

from __future__ import annotations

from typing import ClassVar


class InatSoundsError(Exception):
    """Root of this package's errors; the command line prints it as one line and exits with ``exit_code``.

    Args:
        what: what is wrong, in a few words.
        where: the file, key or argument it concerns.
        found: what was there.
        expected: what should have been there.
        fix: the command or change that mends it.

    >>> print(InatSoundsError("unknown split", where="split", found="'dev'", expected="train, validation, test"))
    unknown split: split: found 'dev'; expected train, validation, test
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        found: object = None,
        expected: object = None,
        fix: object = None,
    ) -> None:
        text = what if where is None else f"{what}: {where}"
        found = found if found is None else shortened(str(found))
        parts = [f"found {found}" if found is not None else "", f"expected {expected}" if expected is not None else ""]
        detail = "; ".join(part for part in parts if part)
        if detail:
            text = f"{text}: {detail}"
        if fix is not None:
            text = f"{text}. {fix}"
        super().__init__(printable(" ".join(text.split())))  # one line, whatever was quoted


def printable(text: str) -> str:
    r"""``text`` with everything that is no visible character as a backslash escape: file names can hold anything.

    >>> printable("a\x1b[2Jé")
    'a\\x1b[2Jé'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, most: int = 300) -> str:
    """``text``, without its middle where it is longer than ``most`` characters.

    >>> shortened("a" * 400, 20)
    'aaaaaaaaaa … aaaaaaaaaa'
    """
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-(most // 2) :]}"


class SourceError(InatSoundsError):
    """A source, archive, split or dataset name that is not there or cannot be read."""


class AnnotationError(InatSoundsError):
    """An annotation archive that is missing, malformed or contradicts itself."""


class AudioError(InatSoundsError):
    """Bytes that are no recording, or no readable one."""


class EmptyAudioError(AudioError):
    """A recording of no bytes."""


class RecipeError(InatSoundsError):
    """A recipe with an unknown key, a wrong value or a contradiction."""


class FlagError(RecipeError):
    """A flag that no recipe could have as a key: wrong arguments, refused before anything is read."""

    exit_code = 2


class CheckpointError(InatSoundsError):
    """A checkpoint that is missing, incomplete or not usable for the job."""


class ScoresError(InatSoundsError):
    """Scores or results that are missing, malformed or do not fit the dataset."""


class PublishError(InatSoundsError):
    """A mirror that cannot be made, completed or put where it was asked for."""


class TrainingError(InatSoundsError):
    """A run that cannot go on: a loss that is no number, a full disk, a worker that was killed."""


class SuiteError(InatSoundsError):
    """A downstream suite whose folder, annotations or folds are not what they should be."""


class GeoError(InatSoundsError):
    """A range prior that is missing, malformed or does not fit the dataset."""


class EndedElsewhere(InatSoundsError):
    """Another process failed, and has said why: this one ends without a line."""
