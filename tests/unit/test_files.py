import os
import stat

import pytest

from hf_inatsounds.files import replacing, write_text


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_is_written_through_and_stays_one(tmp_path, exists):
    target = tmp_path / "elsewhere" / "target.json"
    if exists:
        target.parent.mkdir()
        target.write_text("old")
    for name, leads_to in (("absolute", target), ("relative", "elsewhere/target.json"), ("chained", "absolute")):
        link = tmp_path / name
        link.symlink_to(leads_to)
        write_text(link, name)
        assert link.is_symlink()
        assert not target.is_symlink()
        assert target.read_text() == link.read_text() == name
    assert sorted(os.listdir(target.parent)) == ["target.json"]


def test_an_error_leaves_the_links_target_as_it_was(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(RuntimeError), replacing(link) as path:  # noqa: PT012
        path.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["link", "target"]


def test_a_new_file_may_be_read_as_the_umask_says(tmp_path):
    old = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
