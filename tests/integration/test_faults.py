"""Sources behind a server that fails: nothing lost, nothing doubled, and a clear end where it stays down."""

import pytest

import hf_inatsounds
from hf_inatsounds.archives import http_ranges, retries
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.seek_index import file_names
from hf_inatsounds.errors import SourceError
from tests.helpers.archive_server import FAULTS, archive_server
from tests.helpers.noise import write_noise

N = 150


@pytest.fixture(autouse=True)
def by_blocks(monkeypatch):
    """Streams are shuffled as those of large archives are; tests/integration/test_sources.py has the small ones."""
    monkeypatch.setattr("hf_inatsounds.data.indexed_rows.WHOLE_BYTES", 0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    policy = retries.RetryPolicy(attempts=40, first_wait_s=0.005, longest_wait_s=0.02, timeout_s=0.3)
    monkeypatch.setattr(retries, "RETRY", policy)


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    write_noise(folder, "train", N, samples=(20_000, 200_000))
    (folder / "index").mkdir()
    IndexBuild(Source.parse(folder), "train", folder / "index").run()
    return folder


def load(url, index=None):
    return hf_inatsounds.load_dataset("all", "train", source=url, index=index)


@pytest.mark.parametrize("kind", FAULTS)
def test_each_way_of_failing_is_survived(noise, kind):
    expected = list(load(noise, noise / "index").shuffle(seed=1))
    with archive_server(noise, fail_share=0.3, kinds=(kind,), seed=2) as server:
        found = list(load(server.url, server.url + "/index").shuffle(seed=1))
        assert server.log.faults[kind] >= 3
    assert found == expected


@pytest.mark.parametrize(("whole_bytes", "seeds"), [(0, 3), (64 << 20, 6)], ids=["by blocks", "as a whole"])
def test_with_a_tenth_of_requests_failing_no_row_is_lost_doubled_or_moved(noise, monkeypatch, whole_bytes, seeds):
    monkeypatch.setattr("hf_inatsounds.data.indexed_rows.WHOLE_BYTES", whole_bytes)
    local = load(noise, noise / "index")
    with archive_server(noise, fail_share=0.1, seed=7) as server:
        stream = load(server.url, server.url + "/index")
        assert list(stream) == list(local)
        for seed in range(seeds):
            order = [row["recording_id"] for row in stream.shuffle(seed=seed)]
            assert order == [row["recording_id"] for row in local.shuffle(seed=seed)]
        assert sum(server.log.faults.values()) >= 10


@pytest.mark.parametrize("kind", ["cut", "stall", "503", "refuse"])
def test_reading_forward_goes_on_where_it_was_cut(noise, kind):
    with archive_server(noise, fail_share=0.5, kinds=(kind,), seed=3) as server:
        expected = list(load(noise))
        for _ in range(10):  # half of the requests fail, and each pass makes some
            assert list(load(server.url)) == expected
        assert server.log.faults[kind] >= 1
        if kind == "cut":
            assert any(start > 0 for _, name, start, _ in server.log.requests if name == "train.tar.gz")


def test_an_index_is_built_over_a_failing_connection(noise, tmp_path):
    with archive_server(noise, fail_share=0.5, kinds=("cut", "503", "other-range"), seed=3) as server:
        IndexBuild(Source.parse(server.url), "train", tmp_path).run()
        assert sum(server.log.faults.values()) >= 2
    for name in file_names("train").values():
        assert (tmp_path / name).read_bytes() == (noise / "index" / name).read_bytes()


def test_a_server_that_stays_down_is_named_with_how_to_go_on(noise):
    with archive_server(noise) as server:
        stream = load(server.url, noise / "index")
        order = [row["recording_id"] for row in stream]
        seen = []
        with pytest.raises(SourceError, match=r"no answer after 40 tries: http://127.*train\.tar\.gz.*503.*state_dict"):  # noqa: PT012
            for row in stream:
                seen.append(row["recording_id"])
                state = stream.state_dict()
                server.down = len(seen) >= 20
        assert 20 <= len(seen) < N
        server.down = False
        stream.load_state_dict(state)
        assert seen + [row["recording_id"] for row in stream] == order
        server.down = True
        with pytest.raises(SourceError, match="no answer after 40 tries"):
            load(server.url)


def test_a_missing_file_is_not_asked_for_again(noise):
    with archive_server(noise) as server:
        with pytest.raises(SourceError, match="status 404"):
            http_ranges.HttpRanges(server.url + "/nothing").read(0, 10)
        assert len(server.log.requests) <= 1
