"""Exports made to do harm, through the real command: bounded memory, two lines or all that is left.

What can be read is read; every record that cannot be stands in ``rejected.jsonl`` with its file,
its place and the reason.
"""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from tests.fakes.job_process import MYNAH, refusal

MAX_MEMORY_BYTES = 1_200_000_000
LIMIT_S = 100.0
"""A command that is not done by then hangs."""
LAUNCHER = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as peak:
    peak.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process in between: a child's peak begins with the memory of whoever starts it."""
MARK = "zugzwangmarker"
"""A word of records that cannot be read; no reason may repeat it."""
GOOD = '{"id": 1, "text": "a"}\n'
LAST = '{"id": 3, "text": "c"}\n'
CSV = b"id,text\n1,a\n"
YTD = "window.YTD.tweets.part0 = "


@dataclass(frozen=True, slots=True)
class Run:
    code: int
    out: str
    err: str


def run(*arguments: object, meanwhile: Callable[[int], None] = lambda pid: None) -> Run:
    """Run a command to its end; it may neither hang nor take much memory, nor show a traceback."""
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        tempfile.NamedTemporaryFile() as peak,
    ):
        command = [sys.executable, "-S", "-c", LAUNCHER, peak.name]
        command += [str(MYNAH), "posts", *map(str, arguments)]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=env,
            start_new_session=True,
        )
        timer = threading.Timer(LIMIT_S, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        meanwhile(child_of(process.pid))
        process.wait()
        timer.cancel()
        peak_bytes = int(peak.read() or 0) * 1024
        out.seek(0)
        err.seek(0)
        said = Run(process.returncode, out.read().decode(), err.read().decode())
    assert said.code in (0, 2), said
    assert "Traceback" not in said.err, said.err
    assert 0 < peak_bytes < MAX_MEMORY_BYTES
    return said


def child_of(pid: int) -> int:
    """The process that a process starts; its own number once it has ended."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    while children.exists():
        if numbers := children.read_text().split():
            return int(numbers[0])
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.001)
    return pid


def refused(*paths: Path, why: str) -> None:
    """Check that a command refuses in two lines that say why."""
    said = run("read", *paths)
    assert said.code == 2, said
    error, _ = refusal(said.err)
    assert re.search(why, error), error


def added(folder: Path, *paths: Path) -> tuple[dict[str, object], list[dict[str, object]]]:
    """Add exports to a workspace; return its counts and what was rejected."""
    workspace = folder / "workspace"
    said = run("add", workspace, "--json", *paths)
    assert said.code == 0, said
    counts = json.loads(said.out)
    (path,) = workspace.glob("posts/*/rejected.jsonl")
    text = path.read_text()
    assert MARK not in text
    assert MARK not in said.err
    rejected = [json.loads(line) for line in text.splitlines()]
    assert len(rejected) == counts["num_rejected"]
    for row in rejected:
        assert row["source"]
        assert row["reason"]
        assert row["position"] >= 0
    return counts, rejected


def places(rejected: list[dict[str, object]]) -> list[object]:
    return [row["position"] for row in rejected]


def repeated(block: bytes, times: int, *, wbits: int = -15) -> bytes:
    """Deflate ``block`` over and over, without the time that it takes to do so."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    first = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + again * (times - 1) + packer.flush()


def put(archive: zipfile.ZipFile, name: str, packed: bytes, *, size: int) -> None:
    """Add bytes that are deflated already, under a size that need not be true."""
    archive.writestr(zipfile.ZipInfo(name), packed)
    info = archive.getinfo(name)
    info.compress_type, info.file_size, info.CRC = zipfile.ZIP_DEFLATED, size, 0


def zip_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return path


TEN_GB = 640 << 24
LONG_ROWS = (b"1," + b"a" * 10_000 + b"\n") * 100


@pytest.mark.parametrize(
    ("size", "why"), [(TEN_GB, "expands to more than"), (1_000, "cut short or damaged")]
)
def test_a_member_of_ten_gigabytes(tmp_path: Path, size: int, why: str) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w") as archive:
        put(archive, "data/tweets.js", repeated(bytes(1 << 24), 640), size=size)
    refused(path, why=why)


def test_thousands_of_members_each_small_enough(tmp_path: Path) -> None:
    rows = GOOD.encode() * 1_000
    packed = repeated(rows, 2_000)
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(500):
            put(archive, f"{number}.jsonl", packed, size=2_000 * len(rows))
    refused(path, why="expands to more than")


def test_members_that_lie_over_one_another(tmp_path: Path) -> None:
    path = tmp_path / "overlap.zip"
    with zipfile.ZipFile(path, "w") as archive:
        put(archive, "0.jsonl", repeated(GOOD.encode() * 1_000, 100), size=100 * len(GOOD) * 1_000)
        for number in range(1, 1_000):
            info = zipfile.ZipInfo(f"{number}.jsonl")
            for name in ("header_offset", "compress_size", "file_size", "compress_type", "CRC"):
                setattr(info, name, getattr(archive.filelist[0], name))
            archive.filelist.append(info)
    refused(path, why="expands to more than")


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("is_zipped", [False, True], ids=["file", "zip"])
def test_a_compressed_bomb(tmp_path: Path, ending: str, is_zipped: bool) -> None:
    """It gives what it holds up to the limit, or is refused; the rest is never unpacked."""
    name = f"bomb.csv.{ending}"
    if ending == "gz":
        packed = gzip.compress(CSV) + repeated(LONG_ROWS, 200, wbits=31)
    else:
        packed = b"".join(map(zstandard.ZstdCompressor().compress, [CSV, *[LONG_ROWS] * 200]))
    if not is_zipped:
        (tmp_path / name).write_bytes(packed)
        refused(tmp_path / name, why="expands to more than")
        return
    path = zip_of(tmp_path / "bomb.zip", (name, packed))
    said = run("read", path)
    assert said.code == 2 or "expands to more than" in said.out


@pytest.mark.parametrize(
    "name", ["../a.csv", "/etc/a.csv", "C:\\a.csv", "..\\..\\a.csv", "a/../../b.csv"]
)
def test_a_member_whose_path_leads_out(tmp_path: Path, name: str) -> None:
    refused(zip_of(tmp_path / "a.zip", (name, CSV)), why="leads out of the archive")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_member_that_is_a_link_is_never_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text(f"id,text\n1,{MARK}\n")
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.csv")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(tmp_path / "secret.csv"))
        archive.writestr("b.csv", CSV)
    said = run("read", "--json", path)
    assert said.code == 0
    assert MARK not in said.out + said.err


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(tmp_path: Path) -> None:
    refused(
        zip_of(tmp_path / "a.zip", ("a.csv", CSV), ("a.csv", b"id,text\n2,b\n")), why="one name"
    )


def test_a_hundred_thousand_members(tmp_path: Path) -> None:
    """As many as an archive has pictures; what is no post costs next to nothing."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(100_000):
            archive.writestr(zipfile.ZipInfo(f"media/{number}.jpg"), b"")
        archive.writestr("data/tweets.js", YTD + '[{"tweet":{"id_str":"1","full_text":"a"}}]')
    assert "1 posts by" in run("read", path).out


def test_a_zip_within_a_zip_is_not_opened(tmp_path: Path) -> None:
    inner = zip_of(tmp_path / "inner.zip", ("a.csv", CSV)).read_bytes()
    refused(zip_of(tmp_path / "a.zip", ("inner.zip", inner)), why="holds no posts")


def damaged_zip(kind: str, path: Path) -> str:
    """Write a zip that cannot be read; return what has to be said of it."""
    data = zip_of(path, ("a.csv", CSV + LONG_ROWS)).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", CSV)
        match kind:
            case "encrypted":
                archive.filelist[0].flag_bits |= 1
            case "unknown packing":
                archive.filelist[0].compress_type = 93
            case "name that is no text":
                archive.filelist[0].filename = "\u00e9.csv"
    whole = path.read_bytes()
    match kind:
        case "encrypted":
            return "is encrypted"
        case "unknown packing":
            return "packed in a way that is not known"
        case "name that is no text":
            path.write_bytes(whole.replace("\u00e9.csv".encode(), b"\xff\xff.csv"))
            return "no zip archive"
        case "cut short":
            path.write_bytes(data[: len(data) // 2])
            return "cut short or no zip"
        case _:
            path.write_bytes(whole.replace(b"a.csv", b"b.csv", 1))
            return "is damaged"


@pytest.mark.parametrize(
    "kind", ["encrypted", "unknown packing", "name that is no text", "cut short", "two names"]
)
def test_a_zip_that_cannot_be_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.zip"
    refused(path, why=damaged_zip(kind, path))


def test_a_name_that_writes_on_the_terminal(tmp_path: Path) -> None:
    name = "\x1b[2J\nerror: a\nhint: \u202eb.csv"
    said = run("read", zip_of(tmp_path / "a.zip", (name, CSV), ("\u00e9.csv", CSV + b"2,b\n")))
    assert "1 posts by" not in said.out
    assert not set("\x1b\u202e") & set(said.out + said.err)
    assert "\nerror:" not in said.out


def deep(num: int) -> str:
    return f'{{"id": 2, "text": "{MARK}", "x": {"[" * num}{"]" * num}}}'


@pytest.mark.parametrize("is_lines", [True, False], ids=["lines", "array"])
def test_a_record_a_million_deep(tmp_path: Path, is_lines: bool) -> None:
    path = tmp_path / ("a.jsonl" if is_lines else "a.json")
    records = [GOOD.strip(), deep(1_000_000), LAST.strip()]
    path.write_text("\n".join(records) if is_lines else "[" + ",\n".join(records) + "]")
    counts, rejected = added(tmp_path, path)
    assert counts["num_posts"] == 2
    assert places(rejected) == [2]


@pytest.mark.parametrize("start", ["[", '{"a":'])
def test_a_document_a_million_deep(tmp_path: Path, start: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(start * 1_000_000)
    refused(path, why="a.json")


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "tweets.js"])
def test_a_field_of_a_hundred_megabytes(tmp_path: Path, name: str) -> None:
    starts = {
        "a.jsonl": (GOOD + '{"id": 2, "text": "', '"}\n' + LAST),
        "a.json": (f'[{GOOD}, {{"id": 2, "text": "', f'"}}, {LAST}]'),
        "a.csv": ('id,text\n1,a\n2,"', '"\n3,c\n'),
        "tweets.js": (
            YTD + '[{"tweet":{"id_str":"1","full_text":"a"}},{"tweet":{"id_str":"2","full_text":"',
            '"}},{"tweet":{"id_str":"3","full_text":"c"}}]',
        ),
    }
    start, end = starts[name]
    path = tmp_path / name
    path.write_bytes(start.encode() + b"b" * 100_000_000 + end.encode())
    counts, rejected = added(tmp_path, path)
    assert counts["num_posts"] == 2
    assert places(rejected)[0] in (2, 3)  # CSV counts lines


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
def test_a_line_of_half_a_gigabyte(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(GOOD.encode() * 4_000 if name == "a.jsonl" else CSV + LONG_ROWS)
        stream.truncate(500_000_000)
    _, rejected = added(tmp_path, path)
    assert places(rejected) == [4_001 if name == "a.jsonl" else 103]


def test_a_document_of_millions_of_values(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    values = b"[],\n" * 15_000_000
    path.write_bytes(b'{"kind": "Listing",\n"data": {"children": [' + values + b"[]]}}")
    refused(path, why="values")


def test_values_that_cannot_be(tmp_path: Path) -> None:
    """Times beyond the calendar, halves of characters, NULs, ids twice: each by itself."""
    times: list[object] = ["99999-01-01", "0000-00-00", "1e400", 10**400, "2024-02-30", True, []]
    rows = [json.dumps({"id": 9, "text": MARK, "created_at": time}) for time in times]
    rows.append(f'{{"id": 9, "text": "{MARK}", "created_at": 1e400}}')
    rows.append(f'{{"id": 9, "text": "{MARK} \\ud800"}}')
    rows.append(f'{{"id": "\\udfff", "text": "{MARK}"}}')
    rows.append(f'{{"id": 9, "text": "{MARK} \0"}}')
    rows += [GOOD.strip()] * 100
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(rows) + "\n")
    counts, rejected = added(tmp_path, path)
    assert counts["num_posts"] == 1
    assert counts["num_duplicates"] == 99
    assert places(rejected) == list(range(1, 12))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "latin-1", "shift_jis"])
def test_an_encoding_that_nobody_names(tmp_path: Path, encoding: str) -> None:
    text = "\u65e5\u672c\u8a9e" if encoding == "shift_jis" else "caf\u00e9"
    path = tmp_path / "a.csv"
    path.write_bytes(f"id,text\n1,{text}\n".encode(encoding))
    if encoding.startswith("utf-16"):
        refused(path, why="neither text nor a format")
        return
    said = run("read", path)
    assert said.code == 0
    assert "1  lines that were not UTF-8" in said.out


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", why="is empty")


def test_a_folder_of_things_that_are_no_files(tmp_path: Path) -> None:
    """Pipes and loops are passed by; a file that fails is counted, and the others are read."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "a.csv").write_bytes(CSV)
    os.mkfifo(folder / "b.csv")
    (folder / "loop").symlink_to(folder)
    (folder / "self.csv").symlink_to("self.csv")
    (folder / "c.csv").symlink_to("/proc/self/mem")  # may be opened, and fails at the first byte
    (folder / "d.csv.gz").write_bytes(gzip.compress(CSV)[:20])
    Path(os.fsdecode(bytes(folder) + b"/\xff.csv")).write_bytes(b"id,text\n2,b\n")
    counts, rejected = added(tmp_path, folder)
    assert counts["num_posts"] == 2
    assert {row["source"] for row in rejected} == {"c.csv", "d.csv.gz"}
    assert places(rejected) == [0, 0]


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = io.StringIO()
    for number in range(400_000):
        rows.write(f'{{"id": {number}, "text": "the herons came back to the river"}}\n')
    path.write_text(rows.getvalue())

    def shrink(pid: int) -> None:
        """Cut it where it is being read."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end and (size := read_so_far(pid, path)) is not None:
            if 1 << 20 < size < 20 << 20:
                os.truncate(path, size)
                return
            time.sleep(0.001)

    said = run("read", path, meanwhile=shrink)
    assert path.stat().st_size < len(rows.getvalue())
    assert said.code == 0, said


def read_so_far(pid: int, path: Path) -> int | None:
    """How many bytes of a file a process has read; ``None`` once the process has ended."""
    status = Path(f"/proc/{pid}/stat")
    if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
        return None
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(link) == str(path):
                return int((link.parents[1] / "fdinfo" / link.name).read_text().split()[1])
        except OSError:
            continue
    return 0
