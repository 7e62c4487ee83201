"""The HTTP API: chat in OpenAI's form, search, creatives, health and metrics.

Reads every room through the ``House``; writes campaigns, impressions and clicks.
"""

import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from mynah.errors import MynahError, RequestError
from mynah.search import MAX_OFFSET, parse_query
from mynah.web.completions import Completions
from mynah.web.house import House
from mynah.web.keys import KeyStore, Scope
from mynah.web.metrics import Metrics
from mynah.web.refusals import add_error_handlers
from mynah.web.wire import CampaignBody, ChatBody, campaign_object, search_object

__all__ = ["add_error_handlers", "api_router"]

Json = Any
"""A value that JSON can hold."""
Handler = Callable[[Request], Coroutine[Any, Any, Response]]

MAX_LIMIT = 100
"""Candidates on a page of the API."""
METRICS_TYPE = "text/plain; version=1.0.0; charset=utf-8"


def api_router(house: House) -> APIRouter:
    """Everything under ``/v1``, ``/healthz`` and ``/metrics``.

    Under ``/v1`` a request carries ``Authorization: Bearer KEY``; the click on a creative is the
    exception, since a person's browser follows it.
    """
    metrics = Metrics(house)
    router = APIRouter(route_class=_measured(metrics))
    _add_chat(router, house, metrics)
    _add_search(router, house, metrics)
    _add_ads(router, house)
    _add_health(router, house, metrics)

    @router.api_route("/v1/{path:path}", methods=METHODS, include_in_schema=False)
    def refuse(path: str, request: Request) -> None:  # pyright: ignore[reportUnusedFunction]
        raise RequestError(
            f"there is no {request.method} /v1/{path[:100]}",
            hint="see /openapi.json for the addresses and what they take",
            status=404,
            code="not_found",
        )

    return router


METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]


def require(keys: KeyStore, *scopes: Scope) -> Callable[[Request], None]:
    """Make a dependency that lets a request with a key of one of ``scopes`` through.

    A plain function, so that it and its look into the database run beside the event loop.
    """

    def check(request: Request) -> None:
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        scope = keys.check(key.strip()) if kind.lower() == "bearer" and key.strip() else None
        if scope is None:
            raise RequestError(
                "no key of this server came with the request",
                hint="send the header 'Authorization: Bearer KEY'; the first start printed a key",
                status=401,
                code="invalid_api_key",
            )
        if scope not in scopes:
            raise RequestError(
                f"this key has the scope {scope!r}, this needs {' or '.join(map(repr, scopes))}",
                hint="use the admin key that the first start printed",
                status=403,
                code="insufficient_scope",
            )

    return check


def _add_chat(router: APIRouter, house: House, metrics: Metrics) -> None:
    allowed = [Depends(require(house.keys, "api", "admin"))]
    completions = Completions(house, metrics)
    created = int(time.time())

    def model_object(name: str) -> dict[str, Json]:
        return {"id": name, "object": "model", "created": created, "owned_by": "mynah"}

    @router.post("/v1/chat/completions", dependencies=allowed, response_model=None)
    async def chat(body: ChatBody, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        return await completions.answer(body, request)

    @router.get("/v1/models", dependencies=allowed)
    def models() -> dict[str, Json]:  # pyright: ignore[reportUnusedFunction]
        return {"object": "list", "data": [model_object(name) for name in house.pool.models]}

    @router.get("/v1/models/{name:path}", dependencies=allowed)
    def model(name: str) -> dict[str, Json]:  # pyright: ignore[reportUnusedFunction]
        with house.pool.lease(name):
            return model_object(name)


def _add_search(router: APIRouter, house: House, metrics: Metrics) -> None:
    @router.get("/v1/search", dependencies=[Depends(require(house.keys, "api", "admin"))])
    def search(  # pyright: ignore[reportUnusedFunction]
        q: str,
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 20,
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
    ) -> dict[str, Json]:
        if house.index is None:
            raise RequestError(
                "the posts are not indexed yet",
                hint="/healthz says when search is open; try again in a few seconds",
                status=503,
                code="index_not_ready",
            )
        with metrics.search_s.time():
            result = house.index.search(parse_query(q), limit=limit, offset=offset)
        return search_object(q, result, house.ad_server.select(q, placement="search"))


def _add_ads(router: APIRouter, house: House) -> None:
    admin_only = [Depends(require(house.keys, "admin"))]

    @router.post("/v1/ads/campaigns", dependencies=admin_only, status_code=201)
    def add_campaign(body: CampaignBody) -> dict[str, Json]:  # pyright: ignore[reportUnusedFunction]
        return campaign_object(house.ad_store.add_campaign(body.as_draft()))

    @router.get("/v1/ads/campaigns", dependencies=admin_only)
    def campaigns() -> dict[str, Json]:  # pyright: ignore[reportUnusedFunction]
        data = [campaign_object(campaign) for campaign in house.ad_store.campaigns()]
        return {"object": "list", "data": data}

    @router.get("/v1/ads/{impression_id}/click", response_model=None)
    def click(impression_id: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        return RedirectResponse(house.ad_server.click(impression_id), status_code=302)


def _add_health(router: APIRouter, house: House, metrics: Metrics) -> None:
    @router.get("/healthz")
    def health() -> dict[str, Json]:  # pyright: ignore[reportUnusedFunction]
        stage = house.current_stage
        return {
            "status": "ok",
            "search": house.index is not None,
            "model": house.pool.current or None,
            "stage": stage.name if stage else None,
        }

    @router.get("/metrics", response_model=None)
    def exposition() -> Response:  # pyright: ignore[reportUnusedFunction]
        return Response(metrics.exposition(), media_type=METRICS_TYPE)


def _measured(metrics: Metrics) -> type[APIRoute]:
    """Make a route that counts its answers by status and times them."""

    class MeasuredRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handle = super().get_route_handler()

            async def measure(request: Request) -> Response:
                status = 500
                with metrics.request_s.labels(self.path).time():
                    try:
                        response = await handle(request)
                        status = response.status_code
                        return response
                    except MynahError as error:
                        status = error.status if isinstance(error, RequestError) else 500
                        raise
                    except RequestValidationError:
                        status = 400
                        raise
                    except HTTPException as error:
                        status = error.status_code
                        raise
                    finally:
                        metrics.requests.labels(self.path, str(status)).inc()

            return measure

    return MeasuredRoute
