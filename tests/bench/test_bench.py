"""The benchmark's parts do what its figures rest on; how long anything takes is no test."""

import sys
from pathlib import Path

import pytest

from bench import deciding, targets
from bench.bench import SCENARIOS, Figures, window
from bench.load import in_a_loop, tokens_in

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")


async def test_callers_see_whole_answers_and_every_token(tmp_path: Path) -> None:
    mock = targets.mock()
    router = targets.router(mock.port, tmp_path)
    try:
        for target in (mock, router):
            answers = await in_a_loop(target.port, "Hi", stream=False, callers=2, seconds=0)
            assert (answers.answers, answers.tokens) == (2, 0)
            prompt = "tokens=7 pause_ms=1"
            streams = await in_a_loop(target.port, prompt, stream=True, callers=3, seconds=0)
            assert (streams.answers, streams.tokens, len(streams.first_ms)) == (3, 21, 3)
        figures = Figures()
        await window(SCENARIOS[0], router, 0, figures)
        assert 0.01 < figures.cpu_ms[0] < 100
        costs = await deciding.costs(mock.port)
        assert costs.keys() == {"chat", "agent", "scan"}
        stages = await deciding.stages(mock.port)
        assert tuple(stages) == deciding.STAGES
        assert all(us > 0 for us in stages.values())
    finally:
        router.stop()
        mock.stop()


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_token_that_is_cut_in_two_is_counted_once(cut: int) -> None:
    data = b'{"a":"t=12345 "}{"a":"t=67890 "}'
    first, second = data[:cut], data[cut:]
    tail = first[-40:]
    assert [*tokens_in(first, 0), *tokens_in(tail + second, len(tail))] == [12345, 67890]
