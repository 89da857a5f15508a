"""Makes a day of mixed traffic with real tokens, for the page, /metrics and the tuner to show.

    python -m bench.day /tmp/day         prints how to look at that day

Behind the router: llama.cpp with the built-in model as the local server and, by its /v1/messages,
as a stand-in for Claude. In front: the prompts of prompts.jsonl and recorded requests of real
clients, in three dialects; some callers leave, some force a side, some ask the cloud again, some
rate an answer. In the middle the server gets kill -9. Checked on the way:

- of the answers that callers got whole, only those of the last 200 ms before kill -9 are missing;
- /metrics, read by Prometheus' own parser, counts what the journal holds.

At the end the requests are spread over the last 24 hours, by the usual load of each hour.
"""

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from router.embedded.server import EmbeddedServer
from tests.support.clients import recorded
from tests.support.keys import CANARIES
from tests.support.processes import Server, copy_programs, llama, server

PROMPTS: Final = Path(__file__).with_name("prompts.jsonl")
MOST_CHARS: Final = 5_000
"""Longer prompts would take the built-in model minutes."""
AT_ONCE: Final = 3
PROGRESS: Final = 20
"""Answers between two lines of progress."""
MOST_LOST_S: Final = 0.2
BACKGROUND: Final = (
    *("open-webui-title", "open-webui-tags", "aider-commit-message"),
    *("opencode-title", "claude-code-title", "codex-title"),
)
TURNS: Final = ("aider-turn", "gptme-turn", "claude-code-turn", "continue-turn", "llm-image")
CALLERS: Final = ("OpenAI/Python 3.54.0", "curl/8.14.1", "llm/0.32", "opencode/1.18.33")
PRIVATE: Final = f"Why is this key refused? {CANARIES['AWS id']}"
HOURS: Final = (1, 1, 0, 0, 0, 1, 2, 4, 9, 14, 16, 15, 8, 10, 15, 17, 14, 10, 6, 5, 6, 7, 5, 3)
"""Relative number of requests in each hour of the day."""


@dataclass(frozen=True, slots=True)
class Errand:
    """One request, and what its caller does with the answer."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    leaves: bool = False
    insists: bool = False
    """The caller asks the cloud again after a local answer."""
    verdict: str = ""


class Told:
    """The id of each answer that a caller got whole, and the time of its end."""

    def __init__(self, expected: int) -> None:
        self.at: dict[str, float] = {}
        self._expected = expected
        self._more = asyncio.Event()

    def note(self, request_id: str) -> None:
        self.at[request_id] = time.time()
        self._more.set()
        if len(self.at) % PROGRESS == 0:
            print(f"{len(self.at)} answers, of about {self._expected}", file=sys.stderr, flush=True)

    async def wait_for(self, count: int) -> None:
        while len(self.at) < count:
            self._more.clear()
            await self._more.wait()


def errands(count: int, chance: random.Random) -> Iterator[Errand]:
    lines = PROMPTS.read_text("utf-8").splitlines()
    prompts = [json.loads(line) for line in lines if len(line) < MOST_CHARS]
    for _ in range(count):
        kind = chance.random()
        if kind < 0.14:
            yield _as_recorded(chance.choice(BACKGROUND), chance)
        elif kind < 0.24:
            yield _as_recorded(chance.choice(TURNS), chance)
        elif kind < 0.26:
            yield _asked([{"role": "user", "content": PRIVATE}], chance)
        else:
            row = chance.choice(prompts)
            said = row.get("messages") or [{"role": "user", "content": row["prompt"]}]
            hard = row["expect"] == "cloud"
            errand = _asked(said, chance)
            force = chance.choices(("", "local", "cloud"), (94, 3, 3))[0]
            bad, good = (0.3, 0.05) if hard else (0.04, 0.12)
            yield replace(
                errand,
                headers=errand.headers | ({"x-force-route": force} if force else {}),
                leaves=chance.random() < 0.03,
                insists=chance.random() < (0.15 if hard else 0.02),
                verdict=chance.choices(("bad", "good", ""), (bad, good, 1 - bad - good))[0],
            )


def _asked(messages: list[dict[str, Any]], chance: random.Random) -> Errand:
    limit, stream = int(chance.lognormvariate(3.2, 0.6)) + 4, chance.random() < 0.8
    headers = {"user-agent": chance.choice(CALLERS)}
    plain = all(m["role"] in ("user", "assistant") for m in messages)
    dialect = chance.random() if plain else 1
    if dialect < 0.15:
        body = {"messages": messages, "max_tokens": limit, "stream": stream, "model": "auto"}
        agent = {"user-agent": "Anthropic/Python 2.12.0", "anthropic-version": "2023-06-01"}
        return Errand("/v1/messages", body, agent)
    if dialect < 0.25 and len(messages) == 1:
        asked = messages[0]["content"]
        body = {"input": asked, "max_output_tokens": limit, "stream": stream, "model": "auto"}
        return Errand("/v1/responses", body, headers)
    body = {"messages": messages, "max_tokens": limit, "stream": stream, "model": "auto"}
    return Errand("/v1/chat/completions", body, headers)


def _as_recorded(name: str, chance: random.Random) -> Errand:
    seen = recorded(name)
    limit = "max_output_tokens" if "responses" in seen["path"] else "max_tokens"
    kept = ("user-agent", "anthropic-version", "anthropic-beta")
    headers = {name: value for name, value in seen["headers"].items() if name in kept}
    body = seen["body"] | {"model": "auto", limit: chance.randint(8, 40)}
    return Errand(seen["path"], body, headers)


# ---- callers


async def work(http: httpx2.AsyncClient, todo: Iterator[Errand], told: Told) -> None:
    """Run errands until none is left or the server is gone."""
    for errand in todo:
        try:
            target = await _run(http, errand, told)
            if errand.insists and target == "local":
                again = replace(errand, headers=errand.headers | {"x-force-route": "cloud"})
                await _run(http, replace(again, verdict=""), told)
        except httpx2.TransportError:
            return


async def _run(http: httpx2.AsyncClient, errand: Errand, told: Told) -> str:
    request = http.stream("POST", errand.path, json=errand.body, headers=errand.headers)
    async with request as answer:
        async for _ in answer.aiter_bytes():
            if errand.leaves:
                return ""
        request_id = answer.headers.get("x-request-id", "")
        if answer.status_code == 200:
            told.note(request_id)
        target: str = answer.headers.get("x-router-target", "")
    if errand.verdict and answer.status_code == 200:
        said = {"request_id": request_id, "feedback": errand.verdict}
        await http.post("/feedback", json=said)
    return target


async def morning(running: Server, todo: Iterator[Errand], count: int, told: Told) -> float:
    """Run errands until `count` answers have come, then kill the server; return that time."""
    working = asyncio.create_task(afternoon(running, todo, told))
    await told.wait_for(count)
    running.process.kill()
    killed = time.time()
    await working
    return killed


async def afternoon(running: Server, todo: Iterator[Errand], told: Told) -> str:
    """Run all errands; return the text of /metrics, or "" if the server is gone."""
    async with httpx2.AsyncClient(base_url=running.url, timeout=300, trust_env=False) as http:
        await asyncio.gather(*(work(http, todo, told) for _ in range(AT_ONCE)))
        try:
            return (await http.get("/metrics")).text
        except httpx2.TransportError:
            return ""


# ---- what the journal holds


def check_kill(journal: Path, told: Told, killed: float) -> str:
    """Check that the journal lacks only answers of the last 200 ms; return a report line."""
    with closing(sqlite3.connect(journal)) as db:
        kept = {row[0] for row in db.execute("SELECT id FROM requests")}
        (whole,) = db.execute("PRAGMA integrity_check").fetchone()
    lost = {id: killed - at for id, at in told.at.items() if id not in kept}
    assert whole == "ok", whole
    assert all(age < MOST_LOST_S for age in lost.values()), lost
    ages = ", ".join(f"told {1000 * age:.0f} ms before" for age in lost.values())
    return f"kill -9 after {len(told.at)} answers: {len(lost)} not in the journal {ages}".rstrip()


def check_metrics(metrics: str, journal: Path, since: float) -> str:
    """Check that /metrics counts the rows of this process; return a report line."""
    families = {family.name: family for family in text_string_to_metric_families(metrics)}
    counted = {
        (s.labels["target"], s.labels["reason"], s.labels["outcome"]): int(s.value)
        for s in families["llm_router_requests"].samples
        if s.name.endswith("_total")
    }
    sql = """SELECT coalesce(target, 'none'), reason, outcome, count(*) FROM requests
             WHERE time >= ? GROUP BY 1, 2, 3"""
    with closing(sqlite3.connect(journal)) as db:
        kept = {tuple(row[:3]): row[3] for row in db.execute(sql, (since,))}
    assert counted == kept, (counted, kept)
    return f"/metrics: {len(families)} families, {sum(kept.values())} requests, as in the journal"


def spread(journal: Path, now: float, chance: random.Random) -> None:
    """Move the requests over the last day, in the order in which they came."""
    start = now - 86_400
    hour = time.localtime(start).tm_hour
    weights = [HOURS[(hour + n) % 24] for n in range(24)]
    with closing(sqlite3.connect(journal)) as db, db:
        rows = [row[0] for row in db.execute("SELECT rowid FROM requests ORDER BY time")]
        hours = chance.choices(range(24), weights, k=len(rows))
        times = sorted(start + 3600 * (n + chance.random()) for n in hours)
        changed = zip(times, rows, strict=True)
        db.executemany("UPDATE requests SET time = ? WHERE rowid = ?", changed)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="for the journal and the servers' logs; new")
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        print(f"{folder} is not empty: name a new folder.", file=sys.stderr)
        return 2
    embedded = EmbeddedServer("auto")
    if embedded.unavailable_reason:
        print(embedded.unavailable_reason, file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Sending {options.requests} requests; this takes minutes.", file=sys.stderr, flush=True)
    copy_programs(folder)
    chance = random.Random(options.seed)
    todo, told, journal = (
        errands(options.requests, chance),
        Told(options.requests),
        folder / "journal.db",
    )
    with llama(embedded.path) as model:
        settings = {
            "local_base_url": f"{model.url}/v1",
            "local_model": embedded.model_id,
            "anthropic_api_key": "sk-ant-stand-in",
            "anthropic_base_url": model.url,
            "journal_path": journal,
            "journal_prompts": "true",
        }
        with server(folder, **settings) as running:
            running.wait_for("cloud", "ready")
            killed = asyncio.run(morning(running, todo, options.requests // 2, told))
        print(check_kill(journal, told, killed))
        since = time.time()
        with server(folder, **settings) as running:
            running.wait_for("cloud", "ready")
            metrics = asyncio.run(afternoon(running, todo, told))
        (folder / "metrics.txt").write_text(metrics)
        print(check_metrics(metrics, journal, since))
    spread(journal, time.time(), chance)
    print(f"Look at it: JOURNAL_PATH={journal} python server.py, and python tune.py")
    return 0


if __name__ == "__main__":
    sys.exit(main())
