"""The ``bash`` blocks of a document are one session: a reader copies them one by one, so do we.

Each document runs in a folder of its own, in one shell that stops at the first command that fails.
Ports are replaced by free ones; what a block leaves running is stopped at the end.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.snippets import blocks

TIMEOUT_S = 240
PORTS = re.compile(r"\b(?:7380|8480)\b")
"""Those that the documents name: of a witness, of a plain web server."""
REFUSED = "the answer is no:"
"""What a session says with the exit code, where a document shows a refusal."""
BEGIN = """set -euo pipefail
mynah() { "$PYTHON" -c 'from mynah.cli import main; main()' "$@"; }
python3() { "$PYTHON" "$@"; }
"""


def sessions() -> list[str]:
    return sorted({block.document for block in blocks("bash")})


def free_ports(names: set[str]) -> dict[str, str]:
    held = {name: socket.create_server(("127.0.0.1", 0)) for name in names}
    ports = {name: str(listener.getsockname()[1]) for name, listener in held.items()}
    for listener in held.values():
        listener.close()
    return ports


@pytest.mark.parametrize("document", sessions())
def test_a_session_runs_from_its_first_line_to_its_last(document: str, reader: Path):
    for program in ("bash", "curl", "openssl"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    text = "\n".join(block.text for block in blocks("bash") if block.document == document)
    ports = free_ports(set(PORTS.findall(text)))
    script = BEGIN + PORTS.sub(lambda found: ports[found[0]], text)
    local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    environment = {k: v for k, v in os.environ.items() if k != "MYNAH_KEYS"}
    environment |= local | {"PYTHON": sys.executable, "MYNAH_HOME": str(reader / "home")}
    said = reader / "said.log"  # a file: what is left running would hold a pipe open
    with said.open("w") as stream:
        session = subprocess.Popen(
            ["bash", "-c", script],
            cwd=reader,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        code = session.wait(timeout=TIMEOUT_S)
    finally:
        stop_session(session.pid)
    assert code == 0, said.read_text()
    assert said.read_text().count(f"{REFUSED} 1\n") == text.count(f"{REFUSED} $?")


def stop_session(leader: int) -> None:
    """What still runs of a session is its own group: end all of it."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return  # nothing was left running
