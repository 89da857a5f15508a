"""Reads labelled prompts: how well models answered them, or where a person would send them.

A file has one JSON object a line, gzipped or not:

    p | prompt, or m | messages    what was asked: a text, or chat messages
    g | group | kind               task, subject or source (optional)
    w and s                        quality, 0 to 1, of models of local size and of strong ones;
                                   a number or a list
    y, or expect | expected        1 or "cloud": it needs the cloud; 0 or "local": it does not
    need, sure, source             the smallest class of model that does it, 1 to 4 (4: cloud);
                                   1 where another labeller would agree; where it comes from

`{{FILL:prose:20000}}` in a message stands for so many characters of filler (prose, code, log,
json). Rows without a label are left out.
"""

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

_FILL: Final = re.compile(r"\{\{FILL:(\w+):(\d+)\}\}")
_FILLER: Final = {
    "prose": "The list of open points was short and most of them were settled by the end of May. ",
    "code": "def load(item, cache):\n    return cache.get(item.key) or read(item)\n\n",
    "log": "2026-03-01 12:04:17,402 INFO worker-3 finished job 8821 in 0.31 s\n",
    "json": '{"id": 7, "name": "item-7", "tags": ["a", "b"], "price": 12.5},\n',
}


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled request: `weak` and `strong`, or `cloud`."""

    messages: Sequence[Mapping[str, Any]]
    group: str = "-"
    weak: float | None = None
    """Mean quality of the models of local size, 0 to 1."""
    strong: float | None = None
    cloud: bool | None = None
    """Whether a person would send it to the cloud."""
    need: int | None = None
    """The smallest class of model that does it well: 1 (1-4B) to 4 (cloud)."""
    sure: bool = True


def read_rows(path: Path) -> list[Row]:
    """Return the labelled rows of a file, those with the first row's kind of label.

    Raises OSError, and ValueError naming the line.
    """
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = _row(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"{path.name}, line {number}: {reason}") from None
            rows += [row] if row else []
    return [row for row in rows if (row.weak is None) == (rows[0].weak is None)]


def _row(data: Mapping[str, Any]) -> Row | None:
    asked = data.get("m") or data.get("messages")
    if asked is None:
        prompt = data["p"] if "p" in data else data["prompt"]
        asked = [{"role": "user", "content": prompt}]
    messages = [{**m, "content": _filled(m.get("content"))} for m in asked]
    group = str(data.get("g") or data.get("group") or data.get("kind") or "-")
    if data.get("need") in (1, 2, 3, 4):
        need = int(data["need"])
        source = str(data.get("source") or group)
        return Row(messages, source, cloud=need == 4, need=need, sure=bool(data.get("sure", 1)))
    if "w" in data:
        return Row(messages, group, weak=_mean(data["w"]), strong=_mean(data.get("s", 1.0)))
    expected = data.get("y", data.get("expect", data.get("expected")))
    if expected in (0, 1, "local", "cloud"):
        return Row(messages, group, cloud=expected in (1, "cloud"))
    return None


def _mean(quality: float | Sequence[float]) -> float:
    return float(quality) if isinstance(quality, int | float) else fmean(quality)


def _filled(content: Any) -> Any:
    if not isinstance(content, str):
        return content

    def filler(found: re.Match[str]) -> str:
        size = int(found[2])
        unit = _FILLER.get(found[1], _FILLER["prose"])
        return (unit * (size // len(unit) + 1))[:size]

    return _FILL.sub(filler, content)
