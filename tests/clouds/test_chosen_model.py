"""The status of the model in the settings, and what replaces it."""

import pytest

from router.backend import Model, Status
from router.clouds.chosen_model import FAILURE_HOLDS_S, HOLDS_S, ChosenModel, Gone
from tests.support.clock import Clock

GONE, OTHER = "claude-sonnet-4-6", "claude-sonnet-5"


class Chosen(ChosenModel):
    """A model of a key that opens the models in `there`; `asked` has the look-ups."""

    def __init__(self, *there: str, is_default: bool = True, clock: Clock | None = None) -> None:
        super().__init__(GONE, "ANTHROPIC_MODEL", clock or Clock(), is_default=is_default)
        self.there = there
        self.asked: list[str] = []

    async def _look_at(self, model: str) -> Status:
        self.asked.append(model)
        if not self.there:
            return Status("down")
        if model not in self.there:
            raise Gone("It is gone.", self.there)
        return Status("ready", Model(model, loaded=True), latency_ms=1)

    def _gone(self, gone: Gone) -> Status:
        return Status("down", detail=gone.why)


@pytest.mark.parametrize(
    ("chosen", "replacement"),
    [
        (Chosen(OTHER), OTHER),
        (Chosen(GONE, OTHER), None),
        (Chosen(OTHER, is_default=False), None),
        (Chosen("claude-haiku-5"), None),
        (Chosen(), None),
    ],
    ids=["gone", "still there", "set by the user", "nothing of its tier", "the API is down"],
)
async def test_only_a_default_that_is_gone_is_replaced(
    chosen: Chosen, replacement: str | None
) -> None:
    assert await chosen.replacement(GONE) == replacement
    assert await chosen.replacement("claude-opus-5") is None


@pytest.mark.parametrize(
    ("there", "holds_s"), [((GONE,), HOLDS_S), ((), FAILURE_HOLDS_S)], ids=["ready", "down"]
)
async def test_a_failure_is_looked_at_again_sooner(there: tuple[str, ...], holds_s: float) -> None:
    clock = Clock()
    chosen = Chosen(*there, clock=clock)
    for clock.now, looks in ((0.0, 1), (holds_s - 1, 1), (holds_s, 2)):
        await chosen.status()
        assert len(chosen.asked) == looks
