"""A caller's trace, and what the backends get of it."""

from tests.support.scripted import Connection, Request, Script

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
CALLERS = f"00-{TRACE}-{PARENT}-01"


def keeping(script: Script, heard: list[Request]) -> Script:
    """Return a side that notes the requests that it answers."""

    async def noting(connection: Connection, request: Request) -> None:
        heard.append(request)
        await script(connection, request)

    return noting


def sent(request: Request) -> str | None:
    """Return the traceparent of a request that a backend got."""
    return request.headers.get("traceparent")


def trace_of(request: Request) -> str:
    """Return the same without the flags."""
    return (sent(request) or "").rpartition("-")[0]
