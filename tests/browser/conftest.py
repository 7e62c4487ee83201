"""A house in a process of its own, and Debian's Chromium to look at it with."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
ROOT = Path(__file__).parents[2]


@dataclass
class Serving:
    """Where a house is served."""

    base: str
    folder: Path


@dataclass
class Watch:
    """What a page did that it should not have."""

    base: str
    expected: str = ""
    """Words of the one error that a test means to see."""
    faults: list[str] = field(default_factory=list)

    def attach(self, page: Page) -> None:
        own = (self.base, self.base.replace("http", "ws"), "data:", "blob:")
        page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        page.on("console", self._hear)
        page.on("request", lambda r: None if r.url.startswith(own) else self.faults.append(r.url))
        page.on("websocket", lambda w: None if w.url.startswith(own) else self.faults.append(w.url))

    def _hear(self, message: ConsoleMessage) -> None:
        is_expected = bool(self.expected) and self.expected in message.text
        if message.type == "error" and not is_expected:
            self.faults.append(message.text)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serve(folder: Path, *flags: str) -> Iterator[Serving]:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.browser.serve_house", str(folder), str(port), *flags]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet.pop("PYTEST_CURRENT_TEST", None)  # NiceGUI acts differently when it sees this
    with (folder / "server.txt").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=quiet)
        try:
            wait_for(f"{base}/static/mynah.css", process, folder / "server.txt")
            yield Serving(base, folder)
        finally:
            process.terminate()
            process.wait(20)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the house did not open:\n{log.read_text()}")


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    yield from serve(tmp_path_factory.mktemp("house"))


@pytest.fixture(scope="session")
def public_house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    yield from serve(tmp_path_factory.mktemp("public"), "--public")


# Playwright keeps an event loop running in this thread: it ends with the module, so that tests
# of other folders, in the same process, may have loops of their own.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"no browser at {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens a house at a size; when the test ends no page may have erred or called elsewhere."""
    watches: list[Watch] = []
    contexts = []

    def open_page(serving: Serving, size: str = "desktop", *, expects: str = "") -> Page:
        width, height = SIZES[size]
        context = chromium.new_context(
            base_url=serving.base, viewport={"width": width, "height": height}
        )
        contexts.append(context)
        watch = Watch(serving.base, expects)
        watches.append(watch)
        context.on("page", watch.attach)
        page = context.new_page()
        page.set_default_timeout(15_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [fault for watch in watches for fault in watch.faults] == []
