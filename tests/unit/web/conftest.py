"""One record for all tests of this folder that only read it: every kind of leaf, a pause in force.

Writes it and the keys of its organisations in the session's own folder.
"""

import pytest
from tests.fakes.tiny_record import write_tiny_record

from mynah.record.record import Record


@pytest.fixture(scope="session")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("record")
    return write_tiny_record(folder, folder / "harbourtown")
