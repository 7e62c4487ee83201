"""What a person sees at an address without a page, and when a page breaks.

Reads the house for the frame around it; writes nothing.
"""

from fastapi import Request, Response
from nicegui import Client, app, ui
from nicegui.page import page

from mynah.errors import MynahError
from mynah.web.house import House
from mynah.web.markup import box, error_note, link, text
from mynah.web.shell import ROOMS, shell

__all__ = ["register_trouble"]


def register_trouble(house: House) -> None:
    """Put our own words where NiceGUI has a page of its own."""

    async def missing(request: Request, _: Exception) -> Response:
        with Client(page(""), request=request) as client:
            _missing_page(house, request.url.path)
        return client.build_response(request, 404)

    def broken(error: Exception) -> None:
        with shell(house, "", title="This page broke"), box("section", "empty"):
            if isinstance(error, MynahError):
                error_note(error)
            else:
                text("h1", "This page broke")
                text("p", "The server's log says why. Your posts and your model are safe.", "quiet")
            again = text("button", "Load it again", "button", type="button")
            again.on("click", ui.navigate.reload)

    app.add_exception_handler(404, missing)
    app.on_page_exception(broken)


def _missing_page(house: House, path: str) -> None:
    with shell(house, "", title="No such page"), box("section", "empty"):
        text("h1", "There is no page here")
        text("p", f"Nothing is at {path}. These are the rooms:", "quiet")
        with box("p", "room-links"):
            for room in ROOMS:
                link(room.name, room.path)
