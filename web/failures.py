"""Failures of the routes that FastAPI serves, as answers in the caller's dialect."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from router.errors import InvalidRequest, MethodNotAllowed, RouterError, UnknownRoute
from web.asgi import CallerLeft, error_headers
from web.context import context_in
from web.dialect import error_body

Handler = Callable[[Request, Any], Awaitable[Response]]


async def _router_error(request: Request, error: RouterError) -> Response:
    error.message = context_in(request.scope).parts.redact(error.message)
    return _answer(error, request)


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return _answer(InvalidRequest(f"`{name}`: {first['msg']}.", param=name), request)


async def _http_error(request: Request, error: HTTPException) -> Response:
    path, method = request.url.path[:200], request.method
    if error.status_code == 405:
        known: RouterError = MethodNotAllowed(f"{path} does not take {method}.")
    elif error.status_code == 404:
        known = UnknownRoute(f"There is no {path}. GET /docs lists the routes.")
    else:
        known = RouterError(str(error.detail), status=error.status_code)
    answer = _answer(known, request)
    answer.headers.update(error.headers or {})
    return answer


async def _left(_: Request, __: CallerLeft) -> Response:
    return Response(status_code=499)


def _answer(error: RouterError, request: Request) -> Response:
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    if error.request_id is not None:
        headers["x-request-id"] = error.request_id
    body = orjson.dumps(error_body(error, request.scope))
    return Response(body, status_code=error.status, headers=headers)


EXCEPTION_HANDLERS: Final[dict[type[Exception], Handler]] = {
    RouterError: _router_error,
    RequestValidationError: _invalid,
    HTTPException: _http_error,
    CallerLeft: _left,
}
"""FastAPI's exception handlers; messages of backends are redacted."""
