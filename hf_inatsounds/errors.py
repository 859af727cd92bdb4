"""Errors that a user can cause, under one root. Each says what, where, found, expected, and what mends it."""

from __future__ import annotations

import os
import re
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
        super().__init__(printable(without_secrets(" ".join(text.split()))))  # one line, whatever was quoted


def printable(text: str, *, lines: bool = False) -> str:
    r"""``text`` with everything that is no visible character as a backslash escape: file names can hold anything.

    The one place that does so: errors, notes, bars and what commands print go through it.

    Args:
        text: what is to be printed.
        lines: whether line ends and tabs are the text's own, and stay.

    >>> printable("a\x1b[2Jé\n"), printable("a\x9b\n", lines=True)
    ('a\\x1b[2Jé\\n', 'a\\x9b\n')
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    """A character as an escape; a byte that was no UTF-8 as :func:`storable` has it."""
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def storable(name: str | os.PathLike[str]) -> str:
    r"""A file name as text that UTF-8 has: each byte that is not UTF-8 becomes ``\xNN``.

    No two names become one: where a name has ``\xNN`` itself, its backslash becomes ``\x5c``. So the bytes are got
    back by putting the byte NN wherever ``\xNN`` stands.

    >>> storable("m\udce9lodie.wav"), storable(r"m\xe9lodie.wav"), storable(r"C:\sound.wav")
    ('m\\xe9lodie.wav', 'm\\x5cxe9lodie.wav', 'C:\\sound.wav')
    """
    return encodable(re.sub(r"\\(?=x[0-9a-fA-F]{2})", r"\\x5c", os.fspath(name)))


def encodable(text: str) -> str:
    r"""``text`` with everything that UTF-8 has not as a backslash escape; done twice, it changes nothing more.

    >>> encodable("m\udce9lodie.wav")
    'm\\xe9lodie.wav'
    """
    return re.sub("[\ud800-\udfff]", lambda found: _escaped(found[0]), text)


def without_secrets(text: str) -> str:
    """``text`` without the passwords and signatures of the URLs in it.

    >>> without_secrets("no file: https://me:pw@host/a.tar.gz?sig=abc: found status 403")
    'no file: https://host/a.tar.gz?…: found status 403'
    """
    if "://" not in text:
        return text
    text = re.sub(r"(://)[^/\s@]+@", r"\1", text)
    return re.sub(r"(://[^\s?]*\?)[^\s,;:]+", r"\1…", text)


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


class ArgumentsError(InatSoundsError):
    """Arguments that no run could use, or that do not go with each other."""

    exit_code = 2


class FlagError(RecipeError, ArgumentsError):
    """A flag that no recipe could have as a key: wrong arguments, refused before anything is read."""


class CheckpointError(InatSoundsError):
    """A checkpoint that is missing, incomplete or not usable for the job."""


class ScoresError(InatSoundsError):
    """Scores or results that are missing, malformed or do not fit the dataset."""


class PublishError(InatSoundsError):
    """A mirror that cannot be made, completed or put where it was asked for."""


class TrainingError(InatSoundsError):
    """A run that cannot go on: a loss that is no number, a full disk, a worker that was killed."""


class StoppedError(TrainingError):
    """A run that SIGTERM told to end, by a scheduler as a rule; the exit code is a shell's for that signal."""

    exit_code = 143


class InterruptedRunError(StoppedError):
    """A run that SIGINT told to end, by Ctrl-C as a rule."""

    exit_code = 130


class SuiteError(InatSoundsError):
    """A downstream suite whose folder, annotations or folds are not what they should be."""


class GeoError(InatSoundsError):
    """A range prior that is missing, malformed or does not fit the dataset."""


class EndedElsewhere(InatSoundsError):
    """What failed has been told already, by another process or before: this one ends without a line."""
