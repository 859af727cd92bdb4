"""What a launcher's environment means, and which part of a command line is the launcher's."""

import pytest

from hf_inatsounds.cli.train import split_processes
from hf_inatsounds.errors import RecipeError
from hf_inatsounds.runtime import launching
from hf_inatsounds.runtime.launching import beside, is_first_to_tell


@pytest.fixture
def alone(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def in_group(monkeypatch, rank, size):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(size))


def test_a_process_without_a_launcher_is_alone_and_tells(alone):
    assert beside() == 0
    assert is_first_to_tell()


def test_a_later_process_leaves_the_first_one_time_to_tell_and_then_tells_itself(alone, monkeypatch):
    waited = []
    monkeypatch.setattr(launching.time, "sleep", waited.append)
    in_group(monkeypatch, 0, 3)
    assert is_first_to_tell()
    assert waited == []
    in_group(monkeypatch, 2, 3)
    assert beside() == 2
    assert is_first_to_tell()
    assert waited == [launching.WORDLESS_S + 2]


@pytest.mark.parametrize("words", [["--processes"], ["--processes", "0"], ["--processes=-1"], ["--processes", "two"]])
def test_a_wrong_number_of_processes_is_refused(alone, words):
    with pytest.raises(RecipeError, match="bad value: --processes: found"):
        split_processes(words)


def test_processes_within_processes_are_refused(alone, monkeypatch):
    in_group(monkeypatch, 0, 2)
    with pytest.raises(RecipeError, match="1 where accelerate or torchrun starts processes"):
        split_processes(["--processes", "2"])
