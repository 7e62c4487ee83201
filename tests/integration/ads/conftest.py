"""The store, the server and the campaigns that the unit tests of ads use, too."""

from tests.unit.ads.conftest import add, draft, server, store

__all__ = ["add", "draft", "server", "store"]
