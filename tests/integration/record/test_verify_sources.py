"""Logs in folders and on real servers: slow, lying, endless and broken ones."""

import contextlib
import gzip
import pickle
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.fakes.record_logs import LogBuilder, story, write_log

from mynah.errors import DataError, MachineError
from mynah.record.verify import open_source, sources, verify_log
from mynah.record.verify.sources import FolderSource, UrlSource


class LogServer:
    """A real web server of some files, with faults to order."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.statuses: list[int] = []
        """Answers to give before the true one."""
        self.num_asked = 0
        self.is_gzipped = False
        self.pause_s = 0.0
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server: socketserver.BaseServer = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/log"
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.num_asked += 1
        content = self.files.get(handler.path.removeprefix("/log/"))
        status = self.statuses.pop(0) if self.statuses else (200 if content is not None else 404)
        content = content if content is not None and status == 200 else b"no"
        time.sleep(self.pause_s)
        handler.send_response(status)
        if self.is_gzipped:
            content = gzip.compress(content)
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who has had enough
            handler.wfile.write(content)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def log() -> LogBuilder:
    return story(40)


@pytest.fixture
def server(log) -> Iterator[LogServer]:
    found = LogServer(log.files())
    yield found
    found.close()


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(sources, "FIRST_WAIT_S", 0.0)


@pytest.mark.parametrize("is_gzipped", [False, True])
def test_a_log_over_http_is_the_same(server, log, is_gzipped):
    server.is_gzipped = is_gzipped
    over_http = verify_log(server.url + "/", keys=[log.vkey])
    in_memory = verify_log(log.source(), keys=[log.vkey])
    assert not over_http.is_contradicted
    assert over_http.claims == in_memory.claims
    assert over_http.source == server.url


def test_a_server_that_fails_now_and_then(server, log):
    server.statuses = [503, 429, 500]
    assert not verify_log(server.url, keys=[log.vkey]).is_contradicted


def test_a_server_that_keeps_failing_shows_nothing(server):
    server.statuses = [503] * 10
    with pytest.raises(MachineError, match="status 503"):
        verify_log(server.url)
    assert server.num_asked == sources.TRIES


def test_a_server_that_refuses_is_not_asked_again(server):
    server.statuses = [403]
    with pytest.raises(MachineError, match="status 403"):
        verify_log(server.url)
    assert server.num_asked == 1


def test_a_server_that_is_not_there(server):
    server.close()
    with pytest.raises(MachineError, match="cannot be had"):
        verify_log(server.url)


def test_a_server_that_does_not_answer(server, monkeypatch):
    monkeypatch.setattr(sources, "TIMEOUT", 0.05)
    monkeypatch.setattr(sources, "TRIES", 2)
    server.pause_s = 0.3
    with pytest.raises(MachineError, match="timed out"):
        verify_log(server.url)


def test_a_server_that_sends_without_end(server, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_S", -1.0)
    with pytest.raises(MachineError, match="not whole after"):
        verify_log(server.url)


def test_a_file_without_end_is_not_read_to_its_end(server):
    server.files = {**server.files, "checkpoint": b"x" * 5_000_000}
    with pytest.raises(DataError, match="larger than"):
        verify_log(server.url)


def test_a_file_that_unpacks_without_end(server):
    server.is_gzipped = True
    server.files = {**server.files, "checkpoint": bytes(8_000_000)}
    with pytest.raises(DataError, match="larger than"):
        verify_log(server.url)


def test_a_missing_tile_over_http_is_a_contradiction(server, log):
    del server.files["tile/0/000.p/40"]
    report = verify_log(server.url, keys=[log.vkey])
    assert "not published" in report.of("contradicted")[0].detail


@pytest.mark.parametrize(
    "address",
    ["ftp://heron.example/", "http://", "https:// x", "x://y", "http://a:b/", "http://a\n"],
)
def test_what_is_no_address(address):
    with pytest.raises(DataError, match="no address"):
        open_source(address)


def test_a_workspace_stands_for_its_log(log, tmp_path):
    write_log(tmp_path / "record" / "log", log.leaves, log.key, log.origin)
    for place in (tmp_path, tmp_path / "record", tmp_path / "record" / "log"):
        assert open_source(place) == FolderSource(tmp_path / "record" / "log")
        assert open_source(str(place)) == FolderSource(tmp_path / "record" / "log")


def test_a_folder_without_a_log(tmp_path):
    with pytest.raises(DataError, match="no file named checkpoint"):
        verify_log(tmp_path)
    with pytest.raises(DataError, match="no file named checkpoint"):
        verify_log(tmp_path / "nowhere")


def test_a_folder_where_a_file_should_be(log, tmp_path):
    write_log(tmp_path, log.leaves, log.key, log.origin)
    (tmp_path / "tile" / "0" / "000.p" / "40").unlink()
    (tmp_path / "tile" / "0" / "000.p" / "40").mkdir()
    assert verify_log(tmp_path).is_contradicted


def test_a_file_that_is_too_large(log, tmp_path):
    write_log(tmp_path, log.leaves, log.key, log.origin)
    (tmp_path / "tile" / "0" / "000.p" / "40").write_bytes(bytes(1_000_000))
    assert verify_log(tmp_path).is_contradicted


def test_each_process_has_connections_of_its_own(server):
    source = UrlSource(server.url)
    source.read("checkpoint", max_bytes=10_000)
    again = pickle.loads(pickle.dumps(source))
    assert again.client is None
    assert again.url == server.url
