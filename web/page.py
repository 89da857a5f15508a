"""The status page and the page of the routes: static files, and the headers that restrict them.

The status page needs no other origin and no markup from data. Its one style and one script are
allowed by their hashes, so nothing else that gets into the page can run. The page of the routes
also loads Swagger UI from this server.
"""

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from web.asgi import NOSNIFF

FOLDER: Final = Path(__file__).parent / "static"
SCRIPTS: Final = (
    *("words.js", "figures.js", "confidence.js", "filters.js", "decisions.js", "clients.js"),
    *("keyboard.js", "events.js", "live.js"),
)
"""The status page's script, in the order in which its parts run."""


@cache
def load_page() -> tuple[bytes, dict[str, str]]:
    """Return the status page, in one piece, and its headers."""
    text = _text("page.html").replace("<style></style>", f"<style>\n{_text('page.css')}</style>")
    script = "\n".join(map(_text, SCRIPTS))
    text = text.replace("<script></script>", f"<script>\n{script}</script>")
    policy = {"script-src": _hash_of("script", text), "style-src": _hash_of("style", text)}
    return text.encode(), _headers(policy | {"img-src": "data:"})


@cache
def load_docs() -> tuple[bytes, dict[str, str]]:
    """Return the page of the routes and its headers. Swagger UI sets styles of its own."""
    text = _text("docs.html")
    policy = {
        "script-src": f"'self' {_hash_of('script', text)}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data:",
    }
    return text.encode(), _headers(policy)


def _text(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def _headers(policy: dict[str, str]) -> dict[str, str]:
    policy = {
        "default-src": "'none'",
        **policy,
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    name, value = NOSNIFF
    return {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        name.decode(): value.decode(),
    }


def _hash_of(tag: str, text: str) -> str:
    match = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    assert match is not None
    return f"'sha256-{b64encode(sha256(match[1].encode()).digest()).decode()}'"
