"""Real web servers on this machine: a folder as it is published, a witness in a process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from mynah.record.notes import VerifierKey

WITNESS = """
import sys
import uvicorn
from pathlib import Path
from mynah.record.witness import Witness, keys_of_logs
from mynah.record.witness_app import create_witness_app
folder, descriptor, *vkeys = sys.argv[1:]
witness = Witness.open(Path(folder), logs=keys_of_logs(vkeys))
uvicorn.run(create_witness_app(witness), fd=int(descriptor), log_level="warning")
"""


@contextmanager
def serving(app: FastAPI) -> Generator[str]:
    """Run an application in a thread; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def publishing(folder: Path) -> Generator[str]:
    """Serve a folder's files, as any web server would."""
    app = FastAPI()
    app.mount("/", StaticFiles(directory=folder))
    with serving(app) as url:
        yield url


class WitnessProcess:
    """A witness in a process of its own, that can be killed."""

    def __init__(self, folder: Path, logs: Iterable[VerifierKey]) -> None:
        self.folder = folder
        self.vkeys = [str(key) for key in logs]
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        descriptor = self.listener.fileno()
        self.process = subprocess.Popen(
            [sys.executable, "-c", WITNESS, str(self.folder), str(descriptor), *self.vkeys],
            pass_fds=[descriptor],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert httpx.get(f"{self.url}/healthz", timeout=60.0).text == "ok\n"

    def kill(self) -> None:
        """kill -9, in the middle of whatever it does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self.listener.close()
