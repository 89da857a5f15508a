"""Codex's catalogue in /v1/models: the context and the pictures of each name."""

from typing import Any

import pytest

from router.backend import Model, Status
from router.deciding.facts import Side
from tests.support.running_app import running_app
from web.codex_catalogue import INSTRUCTIONS, catalogue

SMALL = Model("qwen", loaded=True, context_tokens=8192, vision=False)
LARGE = Model("llama", loaded=True, max_context_tokens=32768)
CLAUDE = Model("claude", context_tokens=200_000, vision=True)
OWN = {"auto": "decides", "local": "here", "cloud": "there"}


def side(target: Any, *models: Model, state: Any = "ready") -> Side:
    return Side(target, target, Status(state, models[0] if models else None, models))


@pytest.mark.parametrize(
    ("locals_", "cloud", "rooms"),
    [
        (
            [side("local", SMALL, LARGE)],
            side("cloud", CLAUDE),
            {"auto": 200_000, "local": 8192, "cloud": 200_000}
            | {"qwen": 8192, "llama": 32768, "claude": 200_000},
        ),
        (
            [side("local", SMALL), side("local", LARGE)],
            side("cloud", state="unconfigured"),
            {"auto": 32768, "local": 8192, "cloud": None, "qwen": 8192, "llama": 32768},
        ),
        (
            [side("local", state="down")],
            side("cloud", CLAUDE),
            {"auto": 200_000, "local": None, "cloud": 200_000, "claude": 200_000},
        ),
        (
            [side("local", SMALL)],
            side("cloud", Model("gpt")),
            {"auto": None, "local": 8192, "cloud": None, "qwen": 8192, "gpt": None},
        ),
    ],
)
def test_each_name_has_the_room_of_what_it_may_mean(
    locals_: list[Side], cloud: Side, rooms: dict[str, int | None]
) -> None:
    rows = catalogue(OWN, locals_, cloud)
    assert {row["slug"]: row["context_window"] for row in rows} == rooms
    assert [row["priority"] for row in rows] == list(range(-len(rows), 0))


@pytest.mark.parametrize(
    ("local", "cloud", "sees"),
    [
        (SMALL, CLAUDE, {"auto": True, "local": False, "cloud": True}),
        (SMALL, None, {"auto": False, "local": False, "cloud": True}),
        (LARGE, None, {"auto": True, "local": True, "cloud": True}),
    ],
)
def test_a_name_takes_pictures_unless_all_it_means_are_blind(
    local: Model, cloud: Model | None, sees: dict[str, bool]
) -> None:
    there = side("cloud", cloud) if cloud else side("cloud", state="unconfigured")
    rows = catalogue(OWN, [side("local", local)], there)
    assert {row["slug"]: "image" in row["input_modalities"] for row in rows[:3]} == sees


async def test_codex_gets_its_catalogue_beside_the_list() -> None:
    async with running_app() as app:
        plain = (await app.http.get("/v1/models")).json()
        listed = (await app.http.get("/v1/models?client_version=0.171.0")).json()
    assert "models" not in plain
    assert listed["data"] == plain["data"]
    assert [row["slug"] for row in listed["models"]] == [row["id"] for row in plain["data"]]
    assert all(row["base_instructions"] == INSTRUCTIONS for row in listed["models"])
