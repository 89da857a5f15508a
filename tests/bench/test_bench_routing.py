"""The figures of `make bench-routing` are correct."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from bench import routing
from bench.labelled import read_rows

ONCE = np.ones((1, 1000))
DICE = np.random.default_rng(1)
GAIN = DICE.random(1000)


def test_a_router_that_knows_the_gain_has_the_largest_area() -> None:
    best = routing.apgr(*routing.curve(GAIN, GAIN, ONCE))[0]
    coin = routing.apgr(*routing.curve(DICE.random(1000), GAIN, ONCE))[0]
    worst = routing.apgr(*routing.curve(-GAIN, GAIN, ONCE))[0]
    assert best > 0.6
    assert coin == pytest.approx(0.5, abs=0.03)
    assert best + worst == pytest.approx(1)


def test_equal_scores_are_no_ranking() -> None:
    same = np.full(1000, 7.0)
    assert routing.apgr(*routing.curve(same, GAIN, ONCE))[0] == pytest.approx(0.5)
    assert routing.auroc(same, GAIN > 0.5, ONCE)[0] == pytest.approx(0.5)


def test_auroc_counts_pairs() -> None:
    score = np.array([1.0, 2.0, 2.0, 3.0])
    positive = np.array([False, True, False, True])
    assert routing.auroc(score, positive, np.ones((1, 4)))[0] == pytest.approx(3.5 / 4)
    twice = np.array([[1.0, 1, 1, 2]])
    assert routing.auroc(score, positive, twice)[0] == pytest.approx(5.5 / 6)


def test_the_share_that_may_stay_local_is_read_off_the_curve() -> None:
    calls, gains = np.array([[0, 0.5, 1.0]]), np.array([[0, 0.8, 1.0]])
    for recovered, local in ((0.8, 0.5), (0.4, 0.75), (0.9, 0.25), (1.0, 0.0)):
        found = routing.stays_local(calls, gains, np.array([recovered]))
        assert found[0] == pytest.approx(local)


def test_our_own_prompts_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert routing.main([]) == 0
    said = capsys.readouterr().out
    assert "prompts.jsonl: 213 prompts" in said
    assert "hard to cloud" in said
    assert "RouteLLM" in said


def test_for_measured_quality_the_share_that_may_stay_local_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"p": "prove it " * (i % 9), "w": [0, i % 2], "s": 1} for i in range(60)]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "measured.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "notes.jsonl").write_text('{"p": "no label"}')
    assert routing.main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "local 0.250, cloud 1.000" in said
    assert "stays local" in said
    assert "notes.jsonl: no labelled prompts in it" in said


def test_rows_with_a_need_are_measured_at_every_mark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"p": "prove the theorem " * (1 + i % 9), "need": 1 + i % 4} for i in range(60)]
    (tmp_path / "needs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert routing.main([str(tmp_path / "needs.jsonl")]) == 0
    said = capsys.readouterr().out
    assert "AUROC of length" in said
    assert [line.split()[:4] for line in said.splitlines() if "% balanced" in line] == [
        ["needs", "2", "from", "20"],
        ["needs", "3", "from", "35"],
        ["needs", "4", "from", "50"],
    ]


@pytest.mark.parametrize("line", ["{", "[]", '{"q": 1}', '{"p": "x", "w": []}', '{"p": 1, "m": 2}'])
def test_a_line_that_is_none_is_named(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line)
    assert routing.main([str(path)]) == 2
    assert "bad.jsonl, line 1" in capsys.readouterr().err


def test_long_field_names_and_filler_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "traffic.jsonl"
    said = {"role": "user", "content": "Summarize:\n{{FILL:prose:5000}}"}
    rows = [
        {"messages": [said], "expected": "local", "group": "documents"},
        {"prompt": "prove it", "expect": "cloud", "kind": "maths"},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    long, short = read_rows(path)
    assert len(long.messages[0]["content"]) == 5011
    assert (long.cloud, long.group) == (False, "documents")
    assert (short.cloud, short.group) == (True, "maths")
