"""Pure parts of the seek index: starting in mid-stream, sealing, orders."""

import io
import tarfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_inatsounds.archives import decompress
from hf_inatsounds.archives.deflate import GZIP_HEADER, WINDOW_BYTES, Inflater, Point, alignment, as_gzip
from hf_inatsounds.archives.fetch import Source
from hf_inatsounds.archives.indexing import IndexBuild
from hf_inatsounds.archives.sealing import seal, unseal
from hf_inatsounds.data.ordering import mixed_order, shard_ranges
from hf_inatsounds.errors import SourceError

WINDOW = np.random.default_rng(0).integers(0, 256, WINDOW_BYTES, np.uint8).tobytes()


def bits_of(content: bytes) -> list[int]:
    return [byte >> i & 1 for byte in content for i in range(8)]


def shifted(content: bytes, n: int) -> bytes:
    """The bits of ``content``, ``n`` bits later."""
    made = [1] * n + bits_of(content)
    made += [0] * (-len(made) % 8)
    return bytes(sum(bit << i for i, bit in enumerate(made[at : at + 8])) for at in range(0, len(made), 8))


def read_all(inflater: Inflater, n: int) -> bytes:
    return b"".join(iter(lambda: inflater.read(n), b""))


@pytest.mark.parametrize("n", [1000, 1 << 16, 1 << 22])
def test_what_swells_is_read_to_its_end_piece_by_piece(n):
    parts = [bytes(3_000_000), WINDOW, bytes(700_001)]
    inflater = Inflater()
    inflater.feed(b"".join(zlib.compress(part, wbits=31) for part in parts))
    assert read_all(inflater, n) == b"".join(parts)
    first = Inflater()
    first.feed(zlib.compress(parts[0], wbits=31))
    assert len(first.read(n)) <= n


@pytest.mark.parametrize("bits", range(8))
def test_a_block_may_begin_at_any_bit(bits):
    plain = (WINDOW[1000:9000] + b"what follows ") * 3
    packer = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_FIXED, WINDOW)
    file = shifted(packer.compress(plain) + packer.flush(), -bits % 8)
    before, behind = (file[0], file[1:]) if bits else (0, file)
    inflater = Inflater(WINDOW, bits, before)
    inflater.feed(behind)
    assert read_all(inflater, 1000)[: len(plain)] == plain
    assert zlib.decompressobj(-15, WINDOW).decompress(alignment(bits, before) + behind)[: len(plain)] == plain


def test_a_start_in_mid_stream_keeps_the_checksum_of_the_whole():
    before, plain = WINDOW[::-1] + WINDOW, b"the rest" * 999
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    rest = packer.compress(plain) + packer.flush()
    footer = zlib.crc32(before + plain).to_bytes(4, "little")
    content = as_gzip(before[-WINDOW_BYTES:], 0, 0, zlib.crc32(before)) + rest + footer
    made = zlib.decompressobj(-15).decompress(content[len(GZIP_HEADER) :])
    assert made[4:] == before[-WINDOW_BYTES:] + plain
    assert zlib.crc32(made) == zlib.crc32(before + plain)


def test_a_window_opens_beside_its_archive_only():
    point, before = Point(10 << 20, 7 << 20, 3), WINDOW[:4096]
    sealed = seal(WINDOW, point, before)
    assert unseal(sealed, point, before, where="x") == WINDOW
    assert sealed == seal(WINDOW, point, before)
    wrong = [
        (sealed, point, b"\0" + before[1:]),
        (sealed, Point(point.out, point.at, 4), before),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), point, before),
        (bytes([sealed[0] ^ 1]) + sealed[1:], point, before),
        (sealed[:5], point, before),
    ]
    for case in wrong:
        with pytest.raises(SourceError, match="does not fit the archive: x, byte 7,340,032"):
            unseal(*case, where="x")


@given(st.lists(st.integers(1, 9), max_size=200), st.integers(0, 2**62), st.integers(1, 80))
def test_a_mixed_order_has_everything_once_and_blocks_in_order(sizes, seed, open_blocks):
    order = list(mixed_order(sizes, seed, open_blocks))
    assert sorted(order) == [(block, k) for block, size in enumerate(sizes) for k in range(size)]
    assert order == list(mixed_order(sizes, seed, open_blocks))
    begun, ended = set(), set()
    for block, k in order:
        assert (k == 0) == (block not in begun)
        begun.add(block)
        ended |= {block} if k == sizes[block] - 1 else set()
        assert len(begun - ended) <= open_blocks


@given(st.lists(st.integers(0, 500), max_size=300))
def test_shards_are_whole_blocks_and_cover_all(blocks):
    blocks = np.array(sorted(blocks), np.int64)
    shards = shard_ranges(blocks)
    assert [row for shard in shards for row in range(*shard)] == list(range(len(blocks)))
    assert all(blocks[stop - 1] != blocks[stop] for _, stop in shards[:-1])
    assert len(shards) == 960 or len(shards) <= max(len(set(blocks.tolist())), 1) < 2.6 * max(len(shards), 1)


def test_real_sizes_have_shards_for_64_workers():
    for compressed_bytes in (81e9, 25e9, 27e9):
        n_blocks = int(compressed_bytes / (4 << 20))
        assert len(shard_ranges(np.repeat(np.arange(n_blocks), 6))) >= 8 * 64


def entropy_bits(labels):
    share = np.bincount(labels) / len(labels)
    return float(-(share[share > 0] * np.log2(share[share > 0])).sum())


def test_mixing_blocks_comes_close_to_a_perfect_shuffle():
    """6,000 class-ordered recordings of a long-tailed distribution, six a block."""
    weights = 1 / np.arange(1, 401) ** 0.7
    counts = np.maximum((6_000 * weights / weights.sum()).astype(int), 1)
    labels = np.repeat(np.arange(400), counts)
    labels = labels[: len(labels) // 6 * 6]

    def mean(order):
        return np.mean([entropy_bits(order[i : i + 64]) for i in range(0, len(order) - 63, 64)])

    mixed = np.array([labels[6 * block + k] for block, k in mixed_order([6] * (len(labels) // 6), seed=0)])
    perfect = mean(np.random.default_rng(0).permutation(labels))
    assert mean(labels) < 0.35 * perfect
    assert mean(mixed) > 0.98 * perfect


def spoilt(change):
    """A tar of two recordings with a header that ``change`` spoils between them."""
    buffer = io.BytesIO()
    for name, content in (("train/a.wav", b"a" * 700), (None, b""), ("train/b.wav", b"b" * 300)):
        member = tarfile.TarInfo(name or "train/odd")
        if name is None:
            content = change(member) or b""
        else:
            member.size = len(content)
        buffer.write(member.tobuf(tarfile.GNU_FORMAT))
        buffer.write(content + bytes(-len(content) % 512))
    return buffer.getvalue() + bytes(1024)


def claims(size, kind=tarfile.REGTYPE):
    def change(member):
        member.size, member.type = size, kind

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (claims(5 << 40), r"member too large: .*train/odd: found 5,497,558,138,880 bytes"),
        (claims(900 << 20), r"damaged archive: .*the last member is cut off, after train/a\.wav"),
        (claims(5 << 40, tarfile.GNUTYPE_LONGNAME), r"damaged archive: .*an extended header of .*after train/a\.wav"),
        (claims(5 << 40, tarfile.XHDTYPE), r"damaged archive: .*an extended header of .*after train/a\.wav"),
    ],
)
def test_hostile_headers_are_named(tmp_path, change, message):
    (tmp_path / "train.tar.gz").write_bytes(zlib.compress(spoilt(change), wbits=31))
    with pytest.raises(SourceError, match=message):
        IndexBuild(Source.parse(tmp_path), "train", tmp_path / "index").run()


def test_a_damaged_header_in_the_middle_ends_the_build_too(tmp_path):
    plain = bytearray(spoilt(claims(0)))
    plain[1536 + 148] ^= 1  # the checksum of the second header; gzip's own, made afterwards, is right
    (tmp_path / "train.tar.gz").write_bytes(zlib.compress(plain, wbits=31))
    with pytest.raises(SourceError, match=r"damaged archive: .*bad checksum, after train/a\.wav"):
        IndexBuild(Source.parse(tmp_path), "train", tmp_path / "index").run()


@pytest.mark.slow
def test_a_bomb_is_refused_as_in_reading_forward(tmp_path, monkeypatch):
    member = tarfile.TarInfo("train/a.wav")
    member.size = 400 << 20
    packer = zlib.compressobj(9, wbits=31)
    parts = [packer.compress(member.tobuf()), *(packer.compress(bytes(8 << 20)) for _ in range(50)), packer.flush()]
    (tmp_path / "train.tar.gz").write_bytes(b"".join(parts))
    monkeypatch.setattr(decompress.require_no_bomb, "__kwdefaults__", {"max_ratio": 100, "slack_bytes": 32 << 20})
    with pytest.raises(SourceError, match=r"archive swells like a bomb: .*train\.tar\.gz"):
        IndexBuild(Source.parse(tmp_path), "train", tmp_path / "index").run()


def test_an_archive_without_files_has_no_index(tmp_path):
    (tmp_path / "train.tar.gz").write_bytes(zlib.compress(bytes(10240), wbits=31))
    with pytest.raises(SourceError, match=r"empty archive: .*train\.tar\.gz"):
        IndexBuild(Source.parse(tmp_path), "train", tmp_path / "index").run()
    assert not (tmp_path / "index" / "train.index.json").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_what_is_no_file_is_passed_over(tmp_path, kind):
    def change(member):
        member.type, member.linkname, member.name = kind, "/etc/passwd", "../../odd"

    (tmp_path / "train.tar.gz").write_bytes(zlib.compress(spoilt(change), wbits=31))
    build = IndexBuild(Source.parse(tmp_path), "train", tmp_path / "index")
    build.run()
    import pyarrow.parquet as pq

    members = pq.read_table(tmp_path / "index" / "train.members.parquet")
    assert members["file_name"].to_pylist() == ["train/a.wav", "train/b.wav"]
