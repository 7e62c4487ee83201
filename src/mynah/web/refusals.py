"""How the API says no: errors of the tree, in OpenAI's shape. Reads and writes nothing."""

import logging

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from mynah.errors import MynahError, RequestError
from mynah.web.wire import error_object

__all__ = ["add_error_handlers", "as_request_error"]

logger = logging.getLogger(__name__)

RETRY_AFTER_S = "2"
"""What a client is told when a model is still loading or all are busy."""


def add_error_handlers(app: FastAPI) -> None:
    """Answer errors under ``/v1`` in OpenAI's shape; those of pages stay as they are."""
    app.add_exception_handler(MynahError, _answer_tree)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_exception_handler(HTTPException, _answer_http)


def as_request_error(error: MynahError) -> RequestError:
    """Give an error of the tree a status: a caller's own, or 500 and a line in the log."""
    if isinstance(error, RequestError):
        return error
    logger.error("a request failed: %s", error.message)
    return RequestError(error.message, hint=error.hint, status=500, code="server_error")


def _answer_tree(_: Request, error: Exception) -> Response:
    assert isinstance(error, MynahError)
    return _answer(as_request_error(error))


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if not _is_api(request):
        return await request_validation_exception_handler(request, error)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        refused = RequestError("the body is not JSON", hint="send a JSON object")
        return _answer(refused)
    param = ".".join(str(part) for part in first["loc"][1:]) or None
    refused = RequestError(
        f"{param or 'the body'}: {first['msg']}",
        hint="see /openapi.json for the fields and their types",
        code="invalid_value",
    )
    return _answer(refused, param=param)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if not _is_api(request):
        return await http_exception_handler(request, error)
    hint = "see /openapi.json for the addresses and what they take"
    return _answer(RequestError(str(error.detail), hint=hint, status=error.status_code))


def _answer(error: RequestError, *, param: str | None = None) -> Response:
    headers: dict[str, str] = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status in (429, 503):
        headers["Retry-After"] = RETRY_AFTER_S
    return JSONResponse(error_object(error, param=param), status_code=error.status, headers=headers)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith("/v1/")
