"""The web server in a thread, so that the pages are open while the job goes on.

Reads and writes nothing but its socket.
"""

import socket
import threading
import time
from typing import Any

import uvicorn

from mynah.errors import ConfigError, MachineError

__all__ = ["PageServer", "claim_port"]


def claim_port(host: str, port: int) -> socket.socket:
    """Bind and listen now, so that a taken port is known before any work is done.

    Raises:
        ConfigError: Another program listens there, or the address is not this machine's.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        raise ConfigError(
            f"port {port} on {host} cannot be used: {error}",
            hint=f"choose another one: --port {port + 1 if port < 65535 else 8400}",
        ) from error
    return listener


class PageServer:
    """Serves an app from a thread until ``stop``.

    Args:
        app: A FastAPI app.
        listener: From ``claim_port``.
    """

    def __init__(self, app: Any, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=5
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._thread = threading.Thread(target=self._serve, name="pages", daemon=True)

    def _serve(self) -> None:
        self._server.run(sockets=[self._listener])

    def start(self) -> None:
        """Return once requests are answered.

        Raises:
            MachineError: The server did not come up.
        """
        self._thread.start()
        deadline = time.monotonic() + 60.0
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise MachineError(
                    "the web server did not start", hint="run the same command again"
                )
            time.sleep(0.02)

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Let requests in flight end, at most 5 seconds, then stop."""
        self._server.should_exit = True
        self._thread.join(timeout=10.0)
