"""Archives made to hurt: a clear error or a counted skip, nothing written, bounded memory and time."""

import gzip
import io
import random
import resource
import tarfile
import tracemalloc
import zlib

import pytest

from hf_inatsounds.archives.forward import iterate_members
from hf_inatsounds.archives.tar_walk import PassNotes
from hf_inatsounds.errors import InatSoundsError, SourceError

GOOD = {"train/a/1.wav": b"one" * 400, "train/a/2.wav": b"two" * 500}


def entry(name="train/a/x.wav", content=b"x" * 700, **changes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def good():
    return [entry(name, content) for name, content in GOOD.items()]


def tar(*entries, form=tarfile.GNU_FORMAT, end=True):
    made = b""
    for info, content in entries:
        made += info.tobuf(form, "utf-8", "surrogateescape") + content + bytes(-len(content) % 512)
    return made + bytes(1024) * end


def raw(name, size, kind=b"0", content=b""):
    """A header that claims ``size``, whatever follows."""
    return entry(name, content, size=size, type=kind)


def members(packed, **options):
    notes = PassNotes()
    found = list(iterate_members(io.BytesIO(packed), where="x.tar.gz", notes=notes, whole=True, **options))
    return dict(found), notes


def refused(packed, message, **options):
    with pytest.raises(SourceError, match=message) as caught:
        members(packed, **options)
    text = str(caught.value)
    assert "x.tar.gz" in text
    assert "\n" not in text


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar_is_read_as_tarfile_reads_it(form):
    names = ["a.wav", "train/" + "n" * 90 + "/b.wav", "train/ü.wav"]
    if form != tarfile.USTAR_FORMAT:
        names.append("train/" + "long/" * 60 + "c.wav")
    packed = gzip.compress(tar(*(entry(name, name.encode() * 99) for name in names), form=form))
    with tarfile.open(fileobj=io.BytesIO(packed)) as peer:
        expected = {member.name: peer.extractfile(member).read() for member in peer}
    found, notes = members(packed)
    assert found == expected
    assert list(found) == names
    assert notes == PassNotes(end_mark=True)


def test_a_leading_dot_is_no_part_of_a_name():
    assert list(members(gzip.compress(tar(entry("./train/a.wav"))))[0]) == ["train/a.wav"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../../up.wav", "train/../../up.wav", "C:\\up.wav", "..\\up.wav", "/", ""]
)
def test_names_that_leave_their_folder_are_counted_and_passed_over(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = good()
    found, notes = members(gzip.compress(tar(first, entry(name), second)))
    assert found == GOOD
    assert notes.odd == {"unsafe name": (1, [name])}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (tarfile.SYMTYPE, "symbolic link"), (tarfile.LNKTYPE, "hard link"), (tarfile.CHRTYPE, "device"),
        (tarfile.BLKTYPE, "device"), (tarfile.FIFOTYPE, "fifo"), (b"Z", "unknown type"),
    ],
)  # fmt: skip
def test_members_that_are_no_files_are_counted_and_passed_over(kind, said):
    first, second = good()
    odd = entry("train/a/odd.wav", b"", type=kind, linkname="/etc/passwd")
    found, notes = members(gzip.compress(tar(first, odd, odd, second)))
    assert found == GOOD
    assert notes.odd == {said: (2, ["train/a/odd.wav"] * 2)}


def test_sparse_members_are_counted_and_passed_over():
    info, content = entry("train/a/old.wav", b"s" * 1024, type=tarfile.GNUTYPE_SPARSE)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1  # its map goes on in two more blocks
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    old = bytes(block) + bytes(504) + b"\1" + bytes(7) + bytes(512) + content
    new = tar(entry("train/a/new.wav", b"n" * 700, pax_headers={"GNU.sparse.major": "1"}), form=2, end=False)
    found, notes = members(gzip.compress(old + new + tar(*good())))
    assert found == GOOD
    assert notes.odd == {"sparse file": (2, ["train/a/old.wav", "train/a/new.wav"])}


@pytest.mark.parametrize("wanted", [None, lambda name: False])
def test_a_member_that_claims_terabytes_is_refused_wanted_or_not(wanted):
    packed = gzip.compress(tar(*good(), raw("train/a/huge.wav", 5 << 40)))
    refused(packed, "too large: .*huge.wav: found 5,497,558,138,880 bytes", wanted=wanted)
    pax = entry("train/a/huge.wav", b"", pax_headers={"size": str(5 << 40)})
    refused(gzip.compress(tar(*good(), pax, form=tarfile.PAX_FORMAT)), "too large", wanted=wanted)
    refused(gzip.compress(tar(raw("n.wav", -512))), "damaged archive: .*a member of -512 bytes", wanted=wanted)


@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
def test_extended_headers_of_absurd_size_are_refused_before_they_are_read(kind):
    refused(gzip.compress(tar(raw("long", 8 << 30, kind))), "extended header of 8,589,934,592 bytes")


@pytest.mark.parametrize(
    "content", [b"99 path=a\n", b"path=a\n", b"-9 path=a\n", b"9 path a\n", b"7 path=", b"0 =\n", b"7 a=bc\nx"]
)
def test_malformed_extended_headers_are_refused(content):
    refused(gzip.compress(tar(entry("pax", content, type=b"x"), *good())), "malformed extended header")


def test_thousands_of_extended_headers_in_a_row_neither_recurse_nor_pile_up():
    many = tar(entry("pax", b"11 path=ab\n", type=b"x"), end=False) * 20_000
    assert members(gzip.compress(many + tar(*good())))[0].keys() == {"ab", "train/a/2.wav"}


class Counting(io.RawIOBase):
    """A gzip bomb without an end, made as it is read."""

    def __init__(self, head):
        self.compressor = zlib.compressobj(9, wbits=31)
        self.left = self.compressor.compress(head)
        self.read_bytes = 0

    def readable(self):
        return True

    def read(self, size=-1):
        while len(self.left) < size:
            self.left += self.compressor.compress(bytes(4 << 20))
        part, self.left = self.left[:size], self.left[size:]
        self.read_bytes += len(part)
        return part


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [None, lambda name: False])
def test_a_gzip_bomb_is_refused_in_bounded_memory_and_time(wanted):
    claims = tar(*good(), raw("train/a/bomb.wav", 1 << 30), end=False)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    tracemalloc.start()
    stream = Counting(claims)
    try:
        with pytest.raises(SourceError, match=r"swells like a bomb: x.tar.gz: found .* at most 100 times"):
            list(iterate_members(stream, where="x.tar.gz", wanted=wanted, slack_bytes=32 << 20))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert stream.read_bytes <= 4 << 20  # a bomb that never ends, and yet
    assert peak < 250 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 20


def test_silence_is_no_bomb():
    silent = gzip.compress(tar(entry("train/a/silent.wav", bytes(20 << 20))))
    assert 900 * len(silent) < 20 << 20
    assert len(members(silent)[0]["train/a/silent.wav"]) == 20 << 20


@pytest.mark.slow
def test_behind_the_archives_end_nothing_unbounded_is_read():
    stream = Counting(tar(*good()))
    assert dict(iterate_members(stream, where="x.tar.gz")) == GOOD
    assert stream.read_bytes <= 1 << 20
    refused(gzip.compress(tar(*good()) + bytes(64 << 20)), "like a bomb", slack_bytes=1 << 20)


def test_a_truncated_gzip_is_refused_at_any_length():
    packed = gzip.compress(tar(*good()), mtime=0)
    for length in range(len(packed)):
        refused(packed[:length], "damaged archive")


@pytest.mark.parametrize("cut", [100, 512, 700, 512 + 1536 + 300])
def test_a_truncated_tar_is_refused(cut):
    refused(gzip.compress(tar(*good())[:cut]), "damaged archive.*(cut off|truncated header)")


def test_a_tar_without_its_end_mark_is_read_and_noted():
    found, notes = members(gzip.compress(tar(*good(), end=False)))
    assert found == GOOD
    assert not notes.end_mark


def test_a_damaged_header_in_the_middle_is_refused_where_tarfile_ends_without_a_word():
    broken = bytearray(tar(*good()))
    broken[512 + 1536 + 20] ^= 1
    refused(gzip.compress(bytes(broken)), "bad checksum, after train/a/1.wav")


def test_a_wrong_checksum_behind_the_last_member_is_refused():
    packed = bytearray(gzip.compress(tar(*good())))
    packed[-6] ^= 1
    refused(bytes(packed), "Incorrect checksum")
    with pytest.raises(SourceError, match="Incorrect checksum"):
        list(iterate_members(io.BytesIO(bytes(packed)), where="x.tar.gz"))


def test_garbage_behind_the_stream_is_counted_and_padding_is_not():
    packed = gzip.compress(tar(*good()))
    for more, n in ((b"garbage", 7), (bytes(5000), 0), (bytes(300_000) + b"garbage", 7), (b"\x1f", 1)):
        found, notes = members(packed + more)
        assert (found, notes.trailing_bytes) == (GOOD, n)
    assert members(gzip.compress(tar(*good()) + b"hidden"))[1].extra_bytes == 6
    refused(packed + packed[:30], "damaged archive")  # a second gzip member that is cut off


def test_garbage_in_the_middle_is_refused():
    whole = tar(*good())
    refused(gzip.compress(whole[:1000]) + b"garbage" + gzip.compress(whole[1000:]), "damaged archive")


def test_an_archive_of_several_gzip_members_is_one_archive():
    whole = tar(*good())
    packed = b"".join(gzip.compress(whole[i : i + 300]) for i in range(0, len(whole), 300))
    assert members(packed + gzip.compress(b""))[0] == GOOD


def test_names_that_are_not_utf8_stay_printable():
    first, second = good()
    found, _ = members(gzip.compress(tar(first, entry("train/\udcff\udcfe.wav", b"x"), second)))
    assert list(found) == ["train/a/1.wav", "train/\\xff\\xfe.wav", "train/a/2.wav"]
    assert all(name.encode() for name in found)


@pytest.mark.parametrize(
    "packed", [b"", b"\x1f", b"PK\x03\x04 a zip", b"\x1f\x8b" + bytes(40), tar(*good())], ids=range(5)
)
def test_what_is_no_gzip_is_refused(packed):
    refused(packed, "damaged archive")


@pytest.mark.parametrize("content", [b"", bytes(1024), bytes(10240), tar(entry("train", b"", type=b"5"))])
def test_an_archive_without_files_is_refused(content):
    refused(gzip.compress(content), "empty archive: x.tar.gz: found no files")


def test_no_mutation_brings_out_anything_but_our_errors():
    source = random.Random(3)
    pax = entry("train/a/" + "l" * 200, b"long" * 99, pax_headers={"comment": "c" * 300})
    plain = tar(*good(), form=tarfile.PAX_FORMAT, end=False) + tar(pax, form=tarfile.PAX_FORMAT, end=False)
    plain += tar(entry("train/" + "g" * 200, b"gnu"), entry("train/a/link", b"", type=b"2"), *good())
    packed = gzip.compress(plain, mtime=0)
    outcomes = set()
    for turn in range(1_500):
        spoilt = bytearray(plain if turn % 3 else packed)
        for _ in range(source.randint(1, 4)):
            at = source.randrange(len(spoilt))
            spoilt[at : at + source.choice((1, 1, 1, 0, 12, 512))] = source.randbytes(source.choice((1, 1, 1, 3, 12)))
        if turn % 6 == 1:  # a header that is wrong and checks out
            block = bytearray(spoilt[:512])
            block[source.choice((124, source.randrange(100, 345)))] = source.choice(b"0123456789xgLKS\0\xff\x80 ")
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
            spoilt[:512] = block
        try:
            members(bytes(spoilt) if turn % 3 == 0 else gzip.compress(bytes(spoilt), 1), slack_bytes=64 << 20)
            outcomes.add("read")
        except InatSoundsError as error:
            outcomes.add(str(error).split(":")[0])
    assert outcomes >= {"read", "damaged archive", "archive member too large"}
