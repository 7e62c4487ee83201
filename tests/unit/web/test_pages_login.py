import pytest

from mynah.web.login import LoginGate, own_path, session_secret


@pytest.mark.parametrize("path", ["/", "/search?q=a", "/ads"])
def test_a_visitor_comes_back_to_the_page_they_wanted(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path", ["", "https://example.org", "//example.org", "/\\example.org", "ads"]
)
def test_nobody_is_sent_elsewhere(path: str) -> None:
    assert own_path(path) == "/"


@pytest.mark.parametrize(
    "path", ["/", "/ads", "/search", "/anything", "/v1", "/_nicegui_ws/socket.io/"]
)
def test_what_is_not_listed_as_open_is_closed(path: str) -> None:
    assert not LoginGate.is_open({"type": "http", "path": path, "session": {}})
    assert LoginGate.is_open({"type": "http", "path": path, "session": {"is_signed_in": True}})


@pytest.mark.parametrize("path", ["/login", "/v1/search", "/static/mynah.css", "/healthz"])
def test_what_is_open_needs_no_session(path: str) -> None:
    assert LoginGate.is_open({"type": "http", "path": path})


def test_the_secret_comes_from_the_environment_or_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MYNAH_SECRET", raising=False)
    assert session_secret() != session_secret()
    monkeypatch.setenv("MYNAH_SECRET", "kept")
    assert session_secret() == "kept"
