"""The order of turns and calls that Gemini accepts."""

import itertools
from typing import Any

from tests.support.gemini_words import assert_valid


def assert_wellformed(body: dict[str, Any]) -> None:
    said = body["contents"]
    assert [each["role"] for each in said] == [("user", "model")[i % 2] for i in range(len(said))]
    assert said[-1]["role"] == "user"
    for before, after in itertools.pairwise(said):
        called = [part["functionCall"]["id"] for part in before["parts"] if "functionCall" in part]
        answers = [part.get("functionResponse") for part in after["parts"]]
        assert [answer["id"] for answer in answers[: len(called)] if answer] == called
        assert not any(answers[len(called) :])
    assert all(content["parts"] and {} not in content["parts"] for content in said)
    assert_valid(body)
