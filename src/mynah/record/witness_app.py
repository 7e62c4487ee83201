"""The witness as a web service. Reads requests over HTTP; writes what ``Witness`` writes.

One resource of the protocol (C2SP tlog-witness), ``POST /add-checkpoint``; ``GET /vkey`` gives the
key to whoever wants to put it into a policy, ``GET /healthz`` says that the service is up.
"""

import logging

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from mynah.errors import MynahError
from mynah.record.witness import MAX_REQUEST_BYTES, Witness

__all__ = ["create_witness_app"]

logger = logging.getLogger(__name__)


def create_witness_app(witness: Witness) -> FastAPI:
    """Serve one witness; several processes may serve the same folder."""
    app = FastAPI(title="mynah witness", docs_url=None, redoc_url=None, openapi_url=None)

    async def add_checkpoint(request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return PlainTextResponse("the request is too large\n", 413)
        try:
            answer = await run_in_threadpool(witness.add_checkpoint, body)
        except MynahError as error:
            # Nothing was signed. The operator reads why; who asked learns only that it failed.
            logger.error("the witness cannot answer: %s (%s)", error.message, error.hint)
            return PlainTextResponse("this witness cannot sign now\n", 503)
        # As a header: a media type of text would get a charset, and the protocol has none.
        return Response(answer.body, answer.status, {"content-type": answer.content_type})

    async def vkey(request: Request) -> Response:
        return PlainTextResponse(f"{witness.vkey}\n")

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    app.add_route("/add-checkpoint", add_checkpoint, methods=["POST"])
    app.add_route("/vkey", vkey, methods=["GET"])
    app.add_route("/healthz", healthz, methods=["GET"])
    return app


async def _body(request: Request) -> bytes | None:
    """The body, or ``None`` as soon as it grows too large: what is declared may be a lie."""
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > MAX_REQUEST_BYTES:
            return None
    return bytes(found)
