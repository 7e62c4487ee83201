"""One server for people and programs: the pages at ``/``, the API at ``/v1``.

Everything a page loads comes from this server; a Content-Security-Policy holds browsers to it.
NiceGUI keeps its pages in the process, so a process makes one app.
"""

import warnings

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from nicegui import ui
from starlette.datastructures import MutableHeaders
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mynah import __version__
from mynah.web.api import add_error_handlers, api_router
from mynah.web.house import House
from mynah.web.log_files import log_router
from mynah.web.login import LoginGate, login_router, session_secret
from mynah.web.pages import register_pages
from mynah.web.shell import STATIC, head_html

__all__ = ["create_app"]

# Vue compiles its templates in the page and NiceGUI's start is an inline script: hence 'unsafe-*'.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
)

_LOCAL_NAMES = ("127.0.0.1", "localhost", "::1", "[::1]")


def create_app(house: House) -> FastAPI:
    """Put the pages and the API of ``house`` on one FastAPI app.

    When the house is not local, every page asks for a key first; when it is, only requests to a
    local name are answered.
    """
    # FastAPI's own /docs loads its script from a foreign host; the API's description stays.
    app = FastAPI(title="mynah", version=__version__, docs_url=None, redoc_url=None)
    app.include_router(api_router(house))
    add_error_handlers(app)
    app.include_router(login_router(house))
    app.include_router(log_router(house))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/favicon.svg", include_in_schema=False)
    def favicon() -> FileResponse:
        return FileResponse(STATIC / "mynah.svg")

    register_pages(house)
    ui.add_head_html(head_html(), shared=True)
    if house.is_local:
        # Nobody logs in here, so a page elsewhere must not get in under a name of its own that
        # it lets point to this machine.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL_NAMES))
    else:
        app.add_middleware(LoginGate)
    secret = session_secret()
    app.add_middleware(SessionMiddleware, secret_key=secret, session_cookie="mynah_session")
    app.add_middleware(OwnOriginPolicy)
    # At its start NiceGUI looks at every object of the process; one of torch's complains of that.
    warnings.filterwarnings("ignore", message=".*reduce_op.* is deprecated", category=FutureWarning)
    ui.run_with(
        app,
        title="mynah",
        favicon=STATIC / "mynah.svg",
        dark=None,
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
    )
    return app


class OwnOriginPolicy:
    """ASGI middleware: tells browsers to load from here only, and to leak no address."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY
                headers["Referrer-Policy"] = "same-origin"
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self.app(scope, receive, send_with_policy)
