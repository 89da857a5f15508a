import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from router.events import Usage
from router.scoring.reach import Label
from router.sides.speed import Past
from router.telemetry import lessons
from router.telemetry.journal_file import JournalFile
from router.telemetry.journal_store import JournalStore
from router.telemetry.record import Record
from tests.support.journals import Opened


@pytest.fixture
def store(opened: Opened) -> Iterator[JournalStore]:
    store = opened()
    yield store
    store.close()


def answer(at: float, prompt_tokens: int, first_ms: float = 2_000, **fields: Any) -> Record:
    record = Record(
        f"r{at}",
        at,
        target="local",
        backend="local",
        model="qwen",
        stream=True,
        conversation="one",
        first_byte_ms=first_ms,
        total_ms=first_ms + 5_000,
        usage=Usage(prompt_tokens, 100),
        signals={"structure": 1.0, "local_model": 20.0},
        score=60.0,
        kind="code",
    )
    for name, value in fields.items():
        setattr(record, name, value)
    return record


def test_a_later_turn_counts_only_its_new_tokens(store: JournalStore) -> None:
    store.write([answer(1_000, 1_000), answer(1_100, 1_500)])
    first, second = lessons.answers(store)["local"]
    assert first == Past("qwen", 1_150, 2.0, 5.0)
    assert second.new_tokens == 460


@pytest.mark.parametrize(
    "fields",
    [
        {"outcome": "left"},
        {"stream": False},
        {"target": "cloud"},
        {"usage": None},
        {"first_byte_ms": None},
    ],
)
def test_answers_that_tell_nothing_of_the_speed_are_left_out(
    store: JournalStore, fields: dict[str, Any]
) -> None:
    store.write([answer(1_000, 1_000, **fields)])
    assert lessons.answers(store) == {}


def test_answers_that_waited_for_each_other_are_left_out(store: JournalStore) -> None:
    records = [answer(1_000, 800, conversation="a"), answer(1_003, 900, conversation="b")]
    store.write([*records, answer(2_000, 700, conversation="c")])
    assert [past.new_tokens for past in lessons.answers(store)["local"]] == [920, 805]


def test_cached_tokens_that_the_server_reports_count(store: JournalStore) -> None:
    store.write([answer(1_000, 1_000, usage=Usage(1_000, 100, cached_tokens=900))])
    assert [past.new_tokens for past in lessons.answers(store)["local"]] == [115]


def test_feedback_and_comparisons_become_labels(store: JournalStore, tmp_path: Path) -> None:
    store.write([answer(1_000, 10, feedback="bad"), answer(2_000, 10, feedback="good")])
    store.write([answer(3_000, 10), answer(4_000, 10, feedback="bad", kind="")])
    compared = tmp_path / lessons.COMPARED
    found = {"key": "k", "score": 70, "local_model": "qwen", "kind": "writing", "own_score": 30}
    lines = [json.dumps(found | {"verdicts": ["cloud", "cloud"]})]
    lines += [json.dumps({"key": "older", "score": 3, "verdicts": ["tie", "tie"]}), "{cut off", "7"]
    compared.write_text("\n".join(lines))
    assert lessons.labels(store, compared) == [
        Label("qwen", "code", 40.0, good=True),
        Label("qwen", "code", 40.0, good=False),
        Label("qwen", "writing", 30.0, good=False),
    ]


def test_without_files_there_is_nothing_to_learn(tmp_path: Path) -> None:
    file = JournalFile(tmp_path / "none.db")
    assert lessons.answers(file) == {}
    assert lessons.labels(file, tmp_path / "none.jsonl") == []
    assert not list(tmp_path.iterdir())
