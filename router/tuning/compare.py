"""Compares both sides: each answers the same prompts, and the cloud model judges the answers.

Results are kept on disk, so that a comparison can be stopped and go on later.
"""

import asyncio
import dataclasses
import json
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from router.answers.confidence import check_score
from router.answers.self_check import probability_of_yes, self_check
from router.backend import Relayed, Target
from router.classifier import score_messages
from router.errors import RouterError
from router.events import Finish, TextDelta, Usage, each_of
from router.request import ChatRequest, estimate_tokens
from router.router import Router
from router.telemetry.journal_store import JournalStore
from router.telemetry.prices import Prices
from router.tuning.judge import Compared, Verdict, judge_prompt, key_of, verdict_of
from router.wire.chat import completions

ANSWER_TOKENS: Final = 500
"""Assumed tokens of an answer, for the estimate of the cost."""
JUDGE_TOKENS: Final = 250
"""Tokens of the judge's instructions."""
VERDICT_TOKENS: Final = 80
CLOUD_CALLS: Final = 3
"""Cloud calls for each prompt: an answer, and a verdict in both orders."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to compare the sides on."""

    text: str
    score: float


def journalled(store: JournalStore) -> list[Prompt]:
    """Return the journalled prompts that stayed local. Raises StoreError."""
    return [Prompt(text, score) for text, score in store.rows(store.sql.prompts)]


def prompts_in(path: Path) -> list[Prompt]:
    """Read one prompt a line, or `{"prompt": …}` of a .jsonl file. Raises OSError, ValueError."""
    lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    if path.suffix == ".jsonl":
        lines = [_prompt(line, number) for number, line in enumerate(lines, 1)]
    return [
        Prompt(text, score_messages([{"role": "user", "content": text}]).total)
        for text in dict.fromkeys(lines)
    ]


def sampled(
    pool: Iterable[Prompt], count: int, local_model: str, cloud_model: str
) -> dict[str, Prompt]:
    """Return a random sample by key. It is the same for the same pool; a larger one contains it."""
    keyed = {key_of(prompt.text, local_model, cloud_model): prompt for prompt in pool}
    return dict(sorted(keyed.items())[:count])


def estimate(prompts: Iterable[Prompt]) -> Usage:
    """Estimate the cloud tokens that comparing these prompts takes."""
    sent = received = 0
    for prompt in prompts:
        size = estimate_tokens(prompt.text)
        sent += size + 2 * (size + 2 * ANSWER_TOKENS + JUDGE_TOKENS)
        received += ANSWER_TOKENS + 2 * VERDICT_TOKENS
    return Usage(sent, received)


async def compare(
    router: Router, key: str, prompt: Prompt, models: tuple[str, str], prices: Prices
) -> Compared:
    """Let both sides answer a prompt and the cloud judge twice; return the result.

    `models`: the local one, then the cloud's.

    Raises NoVerdict, and RouterError when a side cannot answer.
    """
    local, cloud = await _both(
        _answer(router, "local", prompt.text), _answer(router, "cloud", prompt.text)
    )
    # A server without log-probabilities gives none for a yes either.
    rates = local.words is not None
    check = await _self_check(router, prompt.text, local.text) if rates else None
    one, two = await _both(
        _answer(router, "cloud", judge_prompt(prompt.text, local.text, cloud.text)),
        _answer(router, "cloud", judge_prompt(prompt.text, cloud.text, local.text)),
    )
    verdicts: tuple[Verdict, Verdict] = (
        verdict_of(one.text, local_first=True),
        verdict_of(two.text, local_first=False),
    )
    used = (cloud.usage, one.usage, two.usage)
    costs = [usage and prices.cost_usd(models[1], usage) for usage in used]
    known = [cost for cost in costs if isinstance(cost, float)]
    cost = sum(known) if len(known) == CLOUD_CALLS else None
    own = score_messages([{"role": "user", "content": prompt.text}])
    return Compared(
        *(key, prompt.score, verdicts, cost, models[0], own.kind, own.total),
        words=local.words,
        check=check,
    )


@dataclass(frozen=True, slots=True)
class _Answer:
    text: str
    usage: Usage | None
    words: float | None
    """The signal `words` of answers/confidence.py, where the server gives probabilities."""


async def _both(
    one: Coroutine[Any, Any, _Answer], other: Coroutine[Any, Any, _Answer]
) -> tuple[_Answer, _Answer]:
    """Return two answers. If one fails the other is cancelled, since it may cost money."""
    try:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(one), group.create_task(other)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return first.result(), second.result()


async def _answer(router: Router, side: Target, text: str) -> _Answer:
    body = {"model": side, "messages": [{"role": "user", "content": text}], "stream": True}
    request = ChatRequest(body)
    decision = await router.decide(request, side)
    pieces: list[str] = []
    usage = None
    async with router.call(request, decision) as call:
        reply = await call.open()
        batches = completions.decode(reply.chunks) if isinstance(reply, Relayed) else reply.events
        async with aclosing(batches):
            async for event in each_of(batches):
                if isinstance(event, TextDelta):
                    pieces.append(event.text)
                elif isinstance(event, Finish):
                    usage = event.usage
    return _Answer("".join(pieces), usage, call.trust.get("words"))


async def _self_check(router: Router, text: str, answer: str) -> float | None:
    """Return the score of the local model's self-check; None if it does not say."""
    asked = ChatRequest({"model": "local", "messages": [{"role": "user", "content": text}]})
    check = self_check(asked, answer)
    try:
        async with router.call(check, await router.decide(check, "local")) as call:
            reply = await call.open()
            document = reply.document if isinstance(reply, Relayed) else None
            p_yes = probability_of_yes(document or {})
    except RouterError:
        return None
    return check_score(p_yes) if p_yes is not None else None


# ---- results on disk: one JSON object a line, without the text of a prompt or an answer


def load(path: Path, keys: Mapping[str, object]) -> dict[str, Compared]:
    """Return the results kept for these prompts. A line that was cut off is left out."""
    done: dict[str, Compared] = {}
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for line in lines:
        try:
            found = json.loads(line)
            one, two = found.pop("verdicts")
            result = Compared(verdicts=(one, two), **found)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
        if result.key in keys:
            done[result.key] = result
    return done


def keep(path: Path, result: Compared) -> None:
    """Append a result to the file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = json.dumps(dataclasses.asdict(result)).encode() + b"\n"
    with open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read() != b"\n":  # the last line was cut off
                line = b"\n" + line
        file.write(line)


def cost_of(results: Sequence[Compared]) -> float | None:
    """Return the cost of the results; None when a price is unknown."""
    costs = [result.cost_usd for result in results if result.cost_usd is not None]
    return sum(costs) if len(costs) == len(results) else None


def _prompt(line: str, number: int) -> str:
    found: Any = json.loads(line)
    text = found.get("prompt") if isinstance(found, dict) else None
    if not isinstance(text, str) or not text:
        raise ValueError(f'line {number} is not {{"prompt": "..."}}')
    return text
