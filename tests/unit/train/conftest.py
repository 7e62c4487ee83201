"""One thread, and one tiny network for all tests of training."""

from collections.abc import Iterator

import pytest
import torch
from tests.fakes.tiny_network import Network, make_tiny_network


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return make_tiny_network(tmp_path_factory.mktemp("network"))
