"""The sentence at the top of the page is true in every combination of the sides."""

from dataclasses import replace
from itertools import product

import pytest

from router.backend import Model, State, Status
from router.deciding.facts import Policy, Side
from tests.support.running_app import refusing, running_app
from web.headline import headline

MODEL = Model("m")
LOCAL: dict[str, Side] = {
    "ready": Side("local", "local", Status("ready", MODEL)),
    "cold": Side("local", "local", Status("cold", MODEL)),
    "down": Side("local", "local", Status("down")),
}
CLOUD: dict[str, Side] = {
    "ready": Side("cloud", "claude", Status("ready", MODEL)),
    "down": Side("cloud", "claude", Status("down")),
    "unconfigured": Side("cloud", "", Status("unconfigured")),
}
SAYS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("ready", "ready"): ("ok", ("score 50 or more go to the cloud", "others stay")),
    ("ready", "down"): ("warning", ("cloud cannot answer", "every prompt stays")),
    ("ready", "unconfigured"): ("ok", ("No cloud is set up", "every prompt stays")),
    ("cold", "ready"): ("warning", ("not loaded", "go to the cloud", "paid for")),
    ("cold", "down"): ("warning", ("cloud cannot answer", "every prompt stays", "loaded first")),
    ("cold", "unconfigured"): ("ok", ("No cloud is set up", "every prompt stays", "loaded first")),
    ("down", "ready"): ("warning", ("local server cannot answer", "cloud", "paid for", "Private")),
    ("down", "down"): ("error", ("Neither", "fail")),
    ("down", "unconfigured"): ("error", ("cannot answer", "no cloud is set up", "fail")),
}


@pytest.mark.parametrize(("local", "cloud"), SAYS)
def test_each_combination_has_its_own_sentence(local: str, cloud: str) -> None:
    level, words = SAYS[local, cloud]
    said = headline(LOCAL[local], CLOUD[cloud], Policy())
    assert said.level == level
    assert all(word in said.text for word in words), said.text


@pytest.mark.parametrize(
    ("local", "level", "words"),
    [
        ("ready", "ok", "nothing leaves this machine."),
        ("cold", "ok", "loaded first"),
        ("down", "error", "prompts fail"),
    ],
)
def test_offline_is_said_first(local: str, level: str, words: str) -> None:
    said = headline(LOCAL[local], CLOUD["unconfigured"], Policy(), offline=True)
    assert said.level == level
    assert said.text.startswith("OFFLINE=true")
    assert words in said.text


def test_no_two_combinations_share_a_sentence() -> None:
    every = {headline(a, b, Policy()).text for a, b in product(LOCAL.values(), CLOUD.values())}
    assert len(every) == len(SAYS)


@pytest.mark.parametrize("state", ["locked", "down", "unconfigured"])
def test_a_local_server_that_cannot_answer_is_down_whatever_the_cause(state: State) -> None:
    side = Side("local", "local", Status(state))
    for cloud in CLOUD.values():
        assert headline(side, cloud, Policy()) == headline(LOCAL["down"], cloud, Policy())


def test_a_side_that_is_left_alone_after_failures_cannot_answer() -> None:
    blocked = replace(LOCAL["ready"], blocked=True)
    assert headline(blocked, CLOUD["ready"], Policy()).level == "warning"
    assert headline(LOCAL["ready"], replace(CLOUD["ready"], blocked=True), Policy()) == headline(
        LOCAL["ready"], CLOUD["down"], Policy()
    )


def test_a_cold_model_that_is_waited_for_costs_nothing() -> None:
    said = headline(LOCAL["cold"], CLOUD["ready"], Policy(cold_local="wait"))
    assert (said.level, "paid" in said.text, "loaded first" in said.text) == ("ok", False, True)


def test_the_built_in_model_is_named() -> None:
    side = Side("local", "embedded", Status("ready", MODEL))
    assert "built-in model" in headline(side, CLOUD["unconfigured"], Policy()).text


async def test_health_has_the_sentence() -> None:
    async with running_app(cloud=refusing(500, "no"), anthropic_api_key=None) as h:
        said = (await h.http.get("/health")).json()["headline"]
    assert said == {
        "level": "ok",
        "text": "No cloud is set up: every prompt stays on this machine.",
    }
