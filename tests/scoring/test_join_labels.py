"""Labels find the texts they are about."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from bench.labelled import read_rows
from tools.join_labels import LABELS, digest, main, read_labels

COLUMNS = ("id", "digest", "source", "licence", "lang", "need", "sure", "kind")


def write_labels(folder: Path, *rows: tuple[str, str, int]) -> Path:
    lines = ["\t".join(COLUMNS)]
    for name, text, need in rows:
        lines.append("\t".join([name, digest(text), "a/b", "MIT", "en", str(need), "1", "other"]))
    (folder / "some.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_texts(folder: Path, *rows: Any) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_texts_are_found_by_id_or_by_digest(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, ("one", "Name a river.", 1), ("two", "Prove it for n > 2.", 4))
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    texts = write_texts(
        tmp_path,
        {"id": "one", "p": "another text"},
        {"m": [*talk, {"role": "user", "content": "prove IT, for n 2"}]},
        {"id": "three", "p": "nobody labelled this"},
    )
    out = tmp_path / "out.jsonl.gz"
    assert main([str(texts), "--labels", str(labels), "--out", str(out)]) == 0
    rows = read_rows(out)
    assert [(row.need, row.cloud, row.group) for row in rows] == [
        (1, False, "a/b"),
        (4, True, "a/b"),
    ]
    assert len(rows[1].messages) == 3


def test_a_digest_that_two_labels_share_finds_neither(tmp_path: Path) -> None:
    labels = write_labels(tmp_path, ("one", "go on", 1), ("two", "go on", 4))
    texts = write_texts(tmp_path, {"p": "go on"}, {"id": "two", "p": "go on"})
    out = tmp_path / "out.jsonl.gz"
    assert main([str(texts), "--labels", str(labels), "--out", str(out)]) == 0
    assert [
        row["need"] for row in map(json.loads, gzip.decompress(out.read_bytes()).splitlines())
    ] == [4]


@pytest.mark.parametrize("line", ["{", "[]", '{"q": 1}', '{"m": []}', '{"m": [{}]}'])
def test_a_line_without_a_prompt_is_named(
    line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(line)
    assert main([str(path), "--out", str(tmp_path / "out.jsonl.gz")]) == 2
    assert "bad.jsonl, line 1" in capsys.readouterr().err


def test_the_labels_that_ship_are_whole_and_hold_no_text() -> None:
    labels = read_labels()
    assert len(labels) > 3_000
    assert len({label["id"] for label in labels}) == len(labels)
    for label in labels:
        assert tuple(label) == COLUMNS
        assert label["need"] in "1234"
        assert label["sure"] in "01"
        assert len(label["digest"]) == 16
        assert all(label.values())
        assert "NC" not in label["licence"]
    assert sorted(path.name for path in LABELS.glob("*")) == [
        "agents.tsv",
        "collected.tsv",
        "developers.tsv",
        "pool.tsv",
    ]
