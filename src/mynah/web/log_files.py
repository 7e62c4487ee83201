"""The log of the record over HTTP, under ``/log``: what a stranger's verifier asks for.

Reads the log's folder, which is laid out as C2SP tlog-tiles say, and streams its files as they
are; proofs, the feed and bills of materials are made when asked for. Nobody signs in for these.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)

from mynah.errors import RecordError
from mynah.record.bom import model_bom
from mynah.record.envelopes import read_payload
from mynah.record.feed import FEED_LEAVES, atom_feed
from mynah.record.index_page import TIMELINE_LEAVES, IndexPage, render_index
from mynah.record.record import Record
from mynah.record.statements import Statement
from mynah.web.house import House

__all__ = ["BRIEFLY", "FOREVER", "file_name", "log_router"]

_NUMBER = r"(?:x\d{3}/)*\d{3}"
_WIDTH = r"(?:\.p/(?:[1-9]|[1-9]\d|1\d\d|2[0-4]\d|25[0-5]))?"
_LEVEL = r"(?:entries|\d|[1-5]\d|6[0-3])"
_TILE = re.compile(rf"{_LEVEL}/{_NUMBER}{_WIDTH}", re.ASCII)
"""The only names that are looked up on disk: nothing else can be reached with a path."""
_PARTIAL = re.compile(r"(.+)\.p/(\d+)", re.ASCII)
_INDEX = re.compile(r"0|[1-9]\d{0,17}", re.ASCII)

BRIEFLY = {"Cache-Control": "public, max-age=2"}
"""For what grows with the log."""
FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
"""For tiles and leaves, which never change."""
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"
FILES = {"checkpoint", "vkey", "policy", "feed.xml", "party.pem", "model-signing.pem"}
"""What is here of the files that a published folder has beside its page."""
MISSING = "There is no such file in this log. /log/ says what there is.\n"
NO_LOG = "There is no record here yet. `mynah up` begins one.\n"


def file_name(origin: str, rest: str) -> str:
    """A name for a download that says which log it is from, in letters safe everywhere."""
    return f"{re.sub(r'[^A-Za-z0-9.-]+', '-', origin).strip('-.')}{rest}"


def log_router(house: House) -> APIRouter:
    """Everything under ``/log/``."""
    router = APIRouter(include_in_schema=False)

    def add(path: str, answer: Callable[..., Response]) -> None:
        # Plain functions: they and the disk they read run beside the event loop.
        router.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None)

    def opened(answer: Callable[[Record], Response]) -> Response:
        if house.record is None:
            return PlainTextResponse(NO_LOG, status_code=404)
        try:
            return answer(house.record)
        except RecordError as error:
            words = f"error: {error.message}\nhint: {error.hint}\n"
            return PlainTextResponse(words, status_code=500)

    def page(request: Request) -> Response:
        return opened(lambda record: _page(record, house, _address(request)))

    def feed(request: Request) -> Response:
        return opened(lambda record: _feed(record, _address(request)))

    add("/log", lambda: RedirectResponse("/log/", status_code=308))
    add("/log/", page)
    add("/log/index.html", page)
    add("/log/feed.xml", feed)
    add("/log/checkpoint", lambda: opened(_tree_head))
    add("/log/vkey", lambda: opened(_key))
    add("/log/policy", lambda: opened(_policy))
    add("/log/party.pem", lambda: opened(_party_key))
    add("/log/model-signing.pem", lambda: opened(_model_key))

    def tile(path: str) -> Response:
        return opened(lambda record: _tile(record, path))

    def leaf(index: str) -> Response:
        return opened(lambda record: _leaf(record, index))

    def proof(index: str) -> Response:
        return opened(lambda record: _proof(record, index))

    def anything(path: str) -> Response:
        del path
        return missing()

    add("/log/tile/{path:path}", tile)
    add("/log/leaf/{index}", leaf)

    def bom(model: str) -> Response:
        return opened(lambda record: _bom(record, model))

    add("/log/proof/{index}", proof)
    add("/log/proofs/{index}.tlog-proof", proof)  # as in a published folder
    add("/log/bom/{model:path}", bom)
    add("/log/{path:path}", anything)
    return router


def missing() -> Response:
    """What is answered for a name that the log does not have."""
    return PlainTextResponse(MISSING, status_code=404)


def _address(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/log"


def _statements(record: Record, num_last: int) -> list[tuple[int, Statement]]:
    """The last leaves, oldest first."""
    size = record.log.head().size
    start = max(0, size - num_last)
    return [
        (index, Statement.decode(read_payload(leaf)))
        for index, leaf in enumerate(record.log.leaves(start, size), start)
    ]


def _page(record: Record, house: House, address: str) -> Response:
    """The page that a published folder has: for who may not sign in here, and needs no script."""
    leaves = _statements(record, TIMELINE_LEAVES)
    has_policy = (record.folder / "policy").is_file()
    page = IndexPage(
        key=record.key,
        party=record.identity.name,
        note=record.log.note(),
        register=record.register(),
        leaves=leaves,
        proofs=frozenset(index for index, _ in leaves),
        file_names=frozenset(FILES if has_policy else FILES - {"policy"}),
        made_us=time.time_ns() // 1000,
        base_url=address,
        thresholds=house.thresholds,
    )
    return HTMLResponse(render_index(page), headers=BRIEFLY)


def _feed(record: Record, address: str) -> Response:
    feed = atom_feed(_statements(record, FEED_LEAVES), key=record.key, base_url=address)
    return Response(feed, media_type="application/atom+xml; charset=utf-8", headers=BRIEFLY)


def _policy(record: Record) -> Response:
    return _read(record.folder / "policy")


def _party_key(record: Record) -> Response:
    return Response(record.identity.public_pem, media_type=TEXT, headers=BRIEFLY)


def _model_key(record: Record) -> Response:
    return Response(record.identity.model_public_pem, media_type=TEXT, headers=BRIEFLY)


def _bom(record: Record, model: str) -> Response:
    """What the record says of a model, in SPDX 3."""
    register = record.register()
    names = {digest: entry.name for digest, entry in list(register.models.items())}
    if model not in names and model not in names.values():
        return missing()
    name = file_name(model, ".spdx.json")
    headers = {**BRIEFLY, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(model_bom(record, model), media_type="application/ld+json", headers=headers)


def _tree_head(record: Record) -> Response:
    # Read at once, not streamed: the writer may put a longer one in its place meanwhile.
    return _read(record.folder / "log" / "checkpoint")


def _key(record: Record) -> Response:
    return Response(f"{record.key}\n", media_type=TEXT, headers=BRIEFLY)


def _read(path: Path) -> Response:
    try:
        return Response(path.read_bytes(), media_type=TEXT, headers=BRIEFLY)
    except FileNotFoundError:
        return missing()


def _tile(record: Record, path: str) -> Response:
    """A tile or bundle; a narrow one that is gone is cut from the wider one that took its place."""
    if not _TILE.fullmatch(path):
        return missing()
    tiles = record.folder / "log" / "tile"
    partial = _PARTIAL.fullmatch(path)
    if partial is None:
        if not (tiles / path).is_file():
            return missing()
        # A whole one stays as it is for good, so it may be read while it is sent.
        return FileResponse(tiles / path, media_type=BINARY, headers=FOREVER)
    content = _narrow(tiles / partial[1], int(partial[2]), is_bundle=path.startswith("entries/"))
    return missing() if content is None else Response(content, media_type=BINARY, headers=FOREVER)


def _narrow(whole: Path, width: int, *, is_bundle: bool) -> bytes | None:
    """The first ``width`` hashes or leaves of a tile, from whichever of its files is there."""
    folder = whole.with_name(f"{whole.name}.p")
    # The writer may drop a partial tile between two of these lines: by then there is a wider one.
    for _ in range(3):
        files = [(int(one.name), one) for one in folder.glob("*") if one.name.isdecimal()]
        wide = [one for at, one in sorted(files) if at >= width]
        try:
            content = (wide[0] if wide else whole).read_bytes()
        except FileNotFoundError:
            continue
        return _begin_of_bundle(content, width) if is_bundle else content[: 32 * width]
    return None


def _begin_of_bundle(content: bytes, width: int) -> bytes:
    end = 0
    for _ in range(width):
        end += 2 + int.from_bytes(content[end : end + 2])
    return content[:end]


def _number(record: Record, index: str) -> int | None:
    """The index if there is such a leaf."""
    if not _INDEX.fullmatch(index):
        return None
    return int(index) if int(index) < record.log.head().size else None


def _leaf(record: Record, index: str) -> Response:
    if (number := _number(record, index)) is None:
        return missing()
    return Response(record.log.leaf(number), media_type="application/json", headers=FOREVER)


def _proof(record: Record, index: str) -> Response:
    if (number := _number(record, index)) is None:
        return missing()
    name = file_name(record.origin, f"-{number}.tlog-proof")
    headers = {**BRIEFLY, "Content-Disposition": f'attachment; filename="{name}"'}
    return Response(record.proof(number), media_type=TEXT, headers=headers)
