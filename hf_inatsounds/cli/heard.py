"""What ``predict`` and ``embed`` share: their flags, the journal of what is done, and what they say of each file."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_inatsounds.cli import arguments as given
from hf_inatsounds.cli.checkpoint_flags import add_checkpoint_flags
from hf_inatsounds.cli.device import add_device
from hf_inatsounds.cli.output import note
from hf_inatsounds.errors import EndedElsewhere, InatSoundsError, printable, storable
from hf_inatsounds.runtime.ranges import Range

if TYPE_CHECKING:
    import pyarrow as pa

    from hf_inatsounds.audio.hearing import Hearing
    from hf_inatsounds.inference.journal import Journal


def add_recording_flags(parser: argparse.ArgumentParser, batch_help: str) -> None:
    """The model, the files, and how they are cut and listened to."""
    parser.add_argument("model", type=given.name, help="run folder, checkpoint or Hub model id")
    add_checkpoint_flags(parser)
    parser.add_argument(
        "files", nargs="*", type=given.name, metavar="FILE",
        help="WAV, FLAC, OGG or MP3; folders, for all recordings below them; patterns",
    )  # fmt: skip
    parser.add_argument(
        "--files-from", action="append", default=[], type=given.name, metavar="LIST",
        help="file with a name on each line, or ended by NUL; - for stdin",
    )  # fmt: skip
    parser.add_argument(
        "--files-table", type=given.output_file, metavar="TABLE",
        help="CSV or Parquet file to write: what was heard of each file, by the suffix .csv or .parquet",
    )  # fmt: skip
    parser.add_argument("--window", type=given.window_s, help="window in seconds (default: the checkpoint's)")
    parser.add_argument("--stride", type=given.stride_s, help="stride in seconds (default: the window)")
    parser.add_argument(
        "--channel",
        type=given.whole_number(Range(0, 65_535)),
        help="channel to listen to, from 0 (default: the mean of all)",
    )
    parser.add_argument("--batch-size", type=given.batch_size, default=32, help=f"{batch_help} (default: 32)")
    add_device(parser)


class HeardFiles:
    """Collects what became of each file, and says on stderr what was not as it should be.

    Args:
        command: whose files they are.
        quiet: whether to leave out what is worth a note and no failure.

    Attributes:
        found: file, as :func:`storable` has it → what became of it, in the order in which they were given.
    """

    def __init__(self, command: str, *, quiet: bool) -> None:
        self.command, self.quiet = command, quiet
        self.found: dict[str, Hearing] = {}

    @contextlib.contextmanager
    def file(self, name: str) -> Iterator[Hearing]:
        """A file's ``Hearing``, which is told when the block ends without an error."""
        from hf_inatsounds.audio.hearing import Hearing

        name = storable(name)
        hearing = self.found[name] = Hearing()
        yield hearing
        notes = hearing.notes()
        if hearing.status != "ok":
            reason = notes.pop(0)
            line = reason if name in reason else f"{name}: {reason}"
            print(f"hf-inatsounds {self.command}: {printable(line)}", file=sys.stderr, flush=True)
        for line in notes:
            choice = "; choose one (--channel)" if "cancel each other" in line else ""
            note(f"{printable(name)}: {line}{choice}", quiet=self.quiet)

    def require_something(self, out: str | None) -> None:
        """Nothing is written, and nothing overwritten, where no file was heard.

        Args:
            out: the file that is to be written; None for stdout.

        Raises:
            InatSoundsError: if that is so; of a single file it has been told why.
        """
        if all(one.status == "failed" for one in self.found.values()):
            if len(self.found) == 1 and (out is None or not os.path.exists(out)):
                raise EndedElsewhere("nothing was heard")
            raise InatSoundsError(
                "nothing was heard", where=out, found=f"{len(self.found)} files without a sample that can be read",
                fix=out and "The output is left as it was.",
            )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: ``failed`` and ``partial`` name files, ``files`` has each one's status, reason and seconds."""
        return {
            "failed": [name for name, one in self.found.items() if one.status == "failed"],
            "partial": [name for name, one in self.found.items() if one.status == "partial"],
            "files": {name: one.as_dict() for name, one in self.found.items()},
        }

    def write(self, out: str) -> None:
        """Write the table of files, whole or not at all.

        Args:
            out: ending with .parquet, or else a CSV file.
        """
        from hf_inatsounds.inference.files_table import write_files_table

        write_files_table(self.found, out)

    def exit_code(self) -> int:
        """0 where every file was heard whole, else 1; says how many were not."""
        odd = sum(one.status != "ok" for one in self.found.values())
        if odd:
            note(f"{odd} of {len(self.found)} files were not heard whole", quiet=self.quiet)
        return 1 if odd else 0


def chosen(arguments: argparse.Namespace) -> list[str]:
    """The files that the arguments mean."""
    from hf_inatsounds.inference.files import chosen_files

    return chosen_files(arguments.files, arguments.files_from)


def write_journalled(
    out: str,
    files: list[str],
    heard: HeardFiles,
    made_by: Mapping[str, Any],
    work: Callable[[str, Hearing], Iterable[pa.Table]],
    write: Callable[[Iterator[pa.Table], Path], int],
) -> int:
    """Do the recordings that the output's journal has not, then write the output whole.

    Args:
        out: the output file.
        files: the recordings.
        heard: told of each.
        made_by: facts by name that results depend on besides the recording.
        work: a recording's rows, without its name; fills in its hearing.
        write: all rows to a file; gives their number.

    Returns:
        What ``write`` returns.
    """
    from hf_inatsounds.files import replacing
    from hf_inatsounds.inference.journal import open_journal

    with open_journal(out, made_by, quiet=heard.quiet) as journal:
        known = _do(files, heard, journal, work)
        if known:
            note(f"{known} of {len(files)} files were done before", quiet=heard.quiet)
        heard.require_something(out)
        with replacing(out) as path:
            return write((table for file in files for table in journal.tables(file)), Path(path))


def _do(
    files: list[str], heard: HeardFiles, journal: Journal, work: Callable[[str, Hearing], Iterable[pa.Table]]
) -> int:
    """Do what is not done; returns how many were."""
    from hf_inatsounds.progress import Bar

    known, heard_s, begin = 0, 0.0, time.monotonic()
    with contextlib.closing(Bar(heard.command, quiet=heard.quiet)) as bar:
        bar.start(len(files))
        for number, file in enumerate(files, start=1):
            with heard.file(file) as hearing:
                if journal.recall(file, hearing):
                    known += 1
                else:
                    journal.enter(file, work(file, hearing), hearing)
                    heard_s += hearing.heard_s
            bar.update(number, f"{heard_s / 3600:.1f} h heard, {heard_s / (time.monotonic() - begin):.0f} × real time")
    return known
