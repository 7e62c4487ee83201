import socket

import httpx
import pytest
from fastapi import FastAPI

from mynah.errors import ConfigError
from mynah.job.server import PageServer, claim_port


def test_a_claimed_port_is_served_until_it_is_stopped():
    app = FastAPI()

    @app.get("/")
    def answer() -> str:
        return "here"

    with claim_port("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = PageServer(app, listener)
        server.start()
        assert httpx.get(address).json() == "here"
        assert server.is_alive
        server.stop()
        assert not server.is_alive


def test_a_taken_port_is_refused_and_another_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}") as refused:
            claim_port("127.0.0.1", port)
    assert "--port" in refused.value.hint


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(ConfigError, match=host):
        claim_port(host, 0)
