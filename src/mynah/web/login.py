"""Who may see the pages: everyone on this machine; over a network, who holds a key.

A key is checked once, on ``/login``; after that a signed cookie stands for it. The gate lies in
front of every address that is not listed as open, so a new page is closed until someone opens it.
"""

import os
import secrets
from html import escape
from urllib.parse import quote

from fastapi import APIRouter, Form, Request
from nicegui import __version__ as nicegui_version
from starlette.datastructures import URL
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mynah.web.house import House
from mynah.web.keys import KEY_PREFIX
from mynah.web.shell import head_html

__all__ = ["LoginGate", "login_router", "session_secret"]

OPEN_PATHS = ("/login", "/log", "/healthz", "/metrics", "/openapi.json", "/favicon.svg")
OPEN_FOLDERS = ("/v1/", "/static/", "/_nicegui/", "/log/")
"""The API checks its own keys; style and scripts hold nothing of the network's; the record's log
is there for strangers to check."""


def session_secret() -> str:
    """The secret that signs cookies: from ``MYNAH_SECRET``, or new with every start."""
    return os.environ.get("MYNAH_SECRET") or secrets.token_urlsafe(32)


class LoginGate:
    """ASGI middleware: sends a visitor without a session to ``/login``, sockets included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an open address or a signed-in visitor through."""
        if scope["type"] not in ("http", "websocket") or self.is_open(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            target = URL(scope=scope)
            came_for = target.path + (f"?{target.query}" if target.query else "")
            response = RedirectResponse(f"/login?to={quote(came_for)}", status_code=303)
            await response(scope, receive, send)

    @staticmethod
    def is_open(scope: Scope) -> bool:
        """Whether anyone may have this address, or this visitor has signed in."""
        path = str(scope["path"])
        is_open = path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)
        return is_open or bool(scope.get("session", {}).get("is_signed_in"))


def login_router(house: House) -> APIRouter:
    """The page that asks for a key, what checks it, and the way out."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    def show_login(to: str = "/") -> Response:
        return HTMLResponse(_login_page(house, to))

    @router.post("/login")
    def check_login(request: Request, key: str = Form(""), to: str = Form("/")) -> Response:
        # The pages change campaigns too, so a key that may only ask does not open them.
        if house.keys.check(key.strip()) != "admin":
            return HTMLResponse(_login_page(house, to, is_wrong=True), status_code=401)
        request.session["is_signed_in"] = True
        return RedirectResponse(own_path(to), status_code=303)

    @router.get("/logout")
    def log_out(request: Request) -> Response:
        request.session.clear()
        return RedirectResponse("/login" if not house.is_local else "/", status_code=303)

    return router


def own_path(to: str) -> str:
    """Only a path of this server: a link to /login must not send anyone elsewhere."""
    is_own = to.startswith("/") and not to.startswith(("//", "/\\"))
    return to if is_own else "/"


def _login_page(house: House, to: str, *, is_wrong: bool = False) -> str:
    network = escape(house.network or "mynah")
    wrong = (
        '<div class="error-note" role="alert"><p class="error-what">This is not an admin key of '
        f'this server.</p><p class="error-hint">It begins with <code>{KEY_PREFIX}</code>; the '
        "first start printed it.</p></div>"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Sign in \u00b7 {network}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="/favicon.svg">
<link rel="stylesheet" href="/_nicegui/{nicegui_version}/static/fonts.css">{head_html()}</head>
<body><main class="login">
<span class="icon icon-mynah" aria-hidden="true"></span>
<div><h1>{network}</h1><p class="lead">Sign in with the key that the first start printed.</p></div>
{wrong if is_wrong else ""}
<form method="post" action="/login"><input type="hidden" name="to" value="{escape(to)}">
<div class="field"><label for="key">Key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus></div>
<button class="button strong" type="submit">Sign in</button></form>
</main></body></html>"""
