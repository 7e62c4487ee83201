"""The tiny network and the one thread that the unit tests of training use, too."""

from tests.unit.train.conftest import network, one_thread

__all__ = ["network", "one_thread"]
