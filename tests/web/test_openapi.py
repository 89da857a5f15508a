"""The OpenAPI document against the running server, with generated requests."""

from collections.abc import Iterator
from typing import Any, Final

import httpx2
import orjson
import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode, checks
from schemathesis.specs.openapi import checks as conformance

from tests.support.chaos.callers import DIALECTS
from tests.support.chaos.running_server import running_server
from tests.support.chaos.sides import CLAUDE, LOCAL
from tests.support.keys import CANARIES
from tests.support.scripted import Connection, Request
from web import describe

EXAMPLES: Final = describe.examples()
ENDLESS: Final = "/events"
PATHS: Final = [path.replace(":path", "") for path in EXAMPLES if path != ENDLESS]
KEY: Final = CANARIES["GitHub"]
WITH_BODY: Final = [path for path, entry in EXAMPLES.items() if "request" in entry]
WITH_INPUT: Final = [*WITH_BODY, "/decisions", "/stats"]
REQUESTS: Final = 10
"""Generated for each route and test."""
CHECKS: Final = [
    checks.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]


async def local_side(connection: Connection, request: Request) -> None:
    """Answer as a local server, on all three of its routes."""
    if request.path == "/v1/chat/completions":
        await LOCAL.well(connection, request)
    else:
        await connection.answer(orjson.dumps(EXAMPLES[request.path]["answer"]))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the address of a server whose sides have answered each dialect."""
    journal = str(tmp_path_factory.mktemp("openapi") / "journal.db")
    server = running_server(
        LOCAL, local_side, CLAUDE.well, journal_path=journal, complexity_threshold=50
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server) as here:
        for dialect in DIALECTS:
            for side in ("local", "cloud"):
                headers = {"X-Force-Route": side}
                body = dialect.body(stream=False)
                httpx2.post(here.url + dialect.path, json=body, headers=headers).raise_for_status()
        yield here.url


@pytest.fixture(scope="module")
def document(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("path", WITH_BODY)
def test_the_example_of_a_route_works(path: str, url: str, document: Any) -> None:
    body = EXAMPLES[path]["request"]
    if path == "/feedback":
        (last,) = httpx2.get(f"{url}/decisions?limit=1").json()["decisions"]
        body = body | {"request_id": last["id"]}
    if path == "/privacy/allow":
        asked = httpx2.post(f"{url}/classify", json={"prompt": f"Why is {KEY} refused?"})
        body = {"id": asked.json()["finding"]["id"]}
    case = document[path]["POST"].Case(body=body, media_type="application/json")
    assert case.call_and_validate(checks=CHECKS).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_route_answers_as_documented(path: str, document: Any) -> None:
    (operation,) = document[path].values()
    _hold(operation.as_strategy(), CHECKS)


@pytest.mark.parametrize("path", WITH_INPUT)
def test_a_route_refuses_undocumented_input(path: str, document: Any) -> None:
    (operation,) = document[path].values()
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    relayed = EXAMPLES[path]["group"] not in describe.OWN_GROUPS
    _hold(wrong, CHECKS if relayed else [*CHECKS, conformance.negative_data_rejection])


def _hold(cases: Any, held: list[Any]) -> None:
    """Check generated cases, the same on every run."""

    @given(case=cases)
    @settings(
        max_examples=REQUESTS,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def holds(case: Any) -> None:
        case.call_and_validate(checks=held)

    holds()
