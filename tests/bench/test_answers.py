"""The replay of labelled answers: what it prints for a file whose truth is known."""

import gzip
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from bench import answers

SUMMARY = re.compile(
    r"SUMMARY apgr confidence (\S+) score (\S+) gain (\S+) \[(\S+), (\S+)\]  ece (\S+)"
)


def labelled(count: int, *, telling: bool, seed: int = 0) -> list[dict[str, Any]]:
    """Answers of one token, or self-checks, that are right as often as the model says."""
    dice = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        p = dice.uniform(0.05, 0.999)
        right = dice.random() < (p if telling else 0.5)
        signal = {"tokens": [math.log(p)]} if number % 2 else {"p_yes": p}
        row = {"id": str(number), "g": "g", "model": "m", "p": f"What is {number}?"}
        rows.append(row | {"answer": "A", "w": float(right), "s": 1.0, **signal})
    return rows


def file_of(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    return path


def summary(
    path: Path, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[list[float], str]:
    assert answers.main([str(path), *arguments]) == 0
    text = capsys.readouterr().out
    found = SUMMARY.fullmatch(text.splitlines()[-1])
    assert found is not None
    return [float(value) for value in found.groups()], text


def test_a_telling_signal_gains_and_is_calibrated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path / "a.json.gz", labelled(1_200, telling=True))
    out = tmp_path / "out.json"
    (confident, score, gain, low, high, ece), text = summary(path, capsys, "--json", str(out))
    assert gain == pytest.approx(confident - score, abs=0.002)
    assert 0.1 < low < gain < high
    assert ece < 0.09
    assert "m g words: 600 answers" in text
    assert "m g check: 600 answers" in text
    kept = json.loads(out.read_text())
    assert [cell["signal"] for cell in kept["cells"]] == ["check", "words"]
    for cell in kept["cells"]:
        value, least, most = cell["auroc"]["confidence"]
        assert least < value < most
        assert (
            cell["local_share"]["0.95"]["confidence"][0] > cell["local_share"]["0.95"]["score"][0]
        )


def test_a_signal_by_chance_gains_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(tmp_path / "a.json.gz", labelled(1_200, telling=False))
    (_, _, _, low, high, _), _ = summary(path, capsys)
    assert low < 0 < high


def test_there_is_no_gap_if_the_cloud_is_no_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"s": row["w"]} for row in labelled(200, telling=True)]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert answers.main([str(path)]) == 0
    text = capsys.readouterr().out
    assert "no gap to recover" in text
    assert "SUMMARY apgr confidence nan" in text


def test_small_groups_of_a_model_are_taken_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row | {"g": f"subject {n % 40}"} for n, row in enumerate(labelled(400, telling=True))]
    _, text = summary(file_of(tmp_path / "a.json.gz", rows), capsys)
    assert "m (small groups) words: 200 answers" in text
    assert "subject" not in text


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "line 1"),
        ('{"tokens": [-1]}', "no 'w'"),
        ('{"tokens": ["a"], "model": "m", "g": "g", "p": "p", "w": 1, "s": 1}', "line 1"),
        ('{"model": "m"}', "0 rows"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, fault: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(line)
    assert answers.main([str(path)]) == 2
    assert fault in capsys.readouterr().err


def test_a_file_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert answers.main(["nowhere.jsonl"]) == 2
    assert "nowhere.jsonl" in capsys.readouterr().err
