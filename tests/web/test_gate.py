"""The gate: hosts, origins, keys and paths."""

import logging
from typing import Any

import httpx2
import pytest

from web.asgi import App, Receive, Scope, Send, send_whole
from web.gate import Gate
from web.keys import Keys

KEY = "a-key-that-is-long-enough"


def saying(name: bytes) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send_whole(send, 200, name + b" " + scope["path"].encode())

    return app


def client(base_url: str = "http://localhost:8080", **settings: Any) -> httpx2.AsyncClient:
    gate = Gate(
        saying(b"app"),
        {"/v1/chat/completions": saying(b"endpoint")},
        keys=Keys(settings.pop("api_key", None), None),
        allowed_hosts=settings.pop("allowed_hosts", ()),
        cors_origins=settings.pop("cors_origins", ()),
    )
    transport = httpx2.ASGITransport(gate)
    return httpx2.AsyncClient(transport=transport, base_url=base_url, **settings)


@pytest.mark.parametrize(
    ("path", "arrives_as"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/models", "/v1/models"),
        ("/models/a/b", "/v1/models/a/b"),
        ("/messages/count_tokens", "/v1/messages/count_tokens"),
        ("/health", "/health"),
        ("/", "/"),
        ("/docs", "/docs"),
    ],
)
async def test_paths_lead_in_with_and_without_v1(path: str, arrives_as: str) -> None:
    async with client() as http:
        owner = "endpoint" if arrives_as == "/v1/chat/completions" else "app"
        assert (await http.get(path)).text == f"{owner} {arrives_as}"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_an_endpoint_owns_its_path(method: str) -> None:
    async with client() as http:
        answer = await http.request(method, "/chat/completions")
        assert answer.text == "endpoint /v1/chat/completions"


@pytest.mark.parametrize(
    "base_url",
    ["http://localhost:8080", "http://127.0.0.1:8080", "http://[::1]:8080", "http://LOCALHOST"],
)
async def test_loopback_names_are_accepted(base_url: str) -> None:
    async with client(base_url) as http:
        assert (await http.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", ""]
)
async def test_a_foreign_host_name_is_refused_whatever_it_resolves_to(host: str) -> None:
    async with client() as http:
        answer = await http.get("/health", headers={"Host": host})
    assert answer.status_code == 403
    assert "ALLOWED_HOSTS" in answer.json()["error"]["message"]


async def test_allowed_hosts_opens_a_name() -> None:
    async with client(allowed_hosts=["mac.local"]) as http:
        answer = await http.get("/health", headers={"Host": "mac.local:8080"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("host", "status"), [("10.0.0.7:8080", 200), ("10.0.0.7", 200), ("10.0.0.8:8080", 403)]
)
async def test_the_address_that_was_connected_to_is_accepted_as_a_host(
    host: str, status: int
) -> None:
    async with client("http://10.0.0.7:8080") as http:
        answer = await http.get("/health", headers={"Host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost:3000", "http://[", "localhost:8080"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_a_page_on_another_origin_is_refused(origin: str, method: str) -> None:
    async with client() as http:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        answer = await http.request(method, "/v1/chat/completions", headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


async def test_a_cross_site_form_post_without_an_origin_is_refused() -> None:
    async with client() as http:
        answer = await http.post("/chat/completions", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


async def test_the_servers_own_page_is_accepted() -> None:
    async with client() as http:
        headers = {"Origin": "http://localhost:8080"}
        assert (await http.post("/chat/completions", headers=headers)).status_code == 200


async def test_cors_origins_opens_an_origin_by_choice() -> None:
    async with client(cors_origins=["https://ui.example"]) as http:
        headers = {
            "Origin": "https://ui.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization",
        }
        preflight = await http.options("/v1/chat/completions", headers=headers)
        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-origin"] == "https://ui.example"
        assert preflight.headers["access-control-allow-headers"] == "authorization"
        answer = await http.post("/v1/chat/completions", headers=headers)
        assert answer.headers["access-control-allow-origin"] == "https://ui.example"


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}, {"x-api-key": KEY}],
)
async def test_the_key_gives_access(headers: dict[str, str]) -> None:
    async with client(api_key=KEY) as http:
        assert (await http.post("/v1/chat/completions", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": KEY}, {"x-api-key": "é"}]
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/openapi.json", "/stats", "/v1/models"])
async def test_without_the_key_only_health_and_the_pages_are_open(
    headers: dict[str, str], path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "router")
    async with client(api_key=KEY) as http:
        raw = [(k.encode(), v.encode("latin-1")) for k, v in headers.items()]
        answer = await http.post(path, headers=raw)
        assert answer.status_code == 401
        assert path in caplog.text
        assert KEY not in caplog.text
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert KEY not in answer.text
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/")).status_code == 200
        assert (await http.get("/docs")).status_code == 200
        assert (await http.get("/favicon.ico")).status_code == 200
        assert (await http.get("/static-offline-docs/swagger-ui.css")).status_code == 200


@pytest.mark.parametrize("opened", ["https://UI.example", "https://ui.example/"])
async def test_the_case_of_an_origin_does_not_count(opened: str) -> None:
    async with client(cors_origins=[opened]) as http:
        headers = {"Origin": "HTTPS://Ui.Example"}
        answer = await http.post("/v1/chat/completions", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "HTTPS://Ui.Example"


async def test_an_answer_to_another_origin_is_not_cached_for_others() -> None:
    async with client(cors_origins=["https://ui.example"]) as http:
        headers = {"Origin": "https://ui.example", "Access-Control-Request-Method": "POST"}
        for answer in (
            await http.options("/", headers=headers),
            await http.get("/", headers=headers),
        ):
            assert answer.headers["vary"] == "Origin"
        assert "vary" not in (await http.get("/")).headers


@pytest.mark.parametrize("sent", [f" {KEY}", f"{KEY} ", f"  {KEY}\t"])
async def test_blanks_around_the_key_do_not_count(sent: str) -> None:
    async with client(api_key=KEY) as http:
        for headers in ({"Authorization": f"Bearer {sent}"}, {"x-api-key": sent}):
            assert (await http.get("/stats", headers=headers)).status_code == 200


async def test_a_missing_and_a_wrong_key_have_different_errors() -> None:
    async with client(api_key=KEY) as http:
        missing = (await http.get("/stats")).json()["error"]["message"]
        wrong = (await http.get("/stats", headers={"x-api-key": "guess"})).json()["error"][
            "message"
        ]
    assert "Authorization: Bearer" in missing
    assert wrong == "This is not the server's ROUTER_API_KEY."
