"""Judges whether the local model was sure enough of its answer.

`off`: nothing is measured. `shadow`: the signals only go to the journal. `on`: an answer that is
too unlikely to be good, by the model's calibration, starts over on the cloud. Streamed answers are
judged if they have at most SHORT_TOKENS tokens (they are held back that long), whole answers
always, and both only for prompts at most BAND points below the threshold. Without a calibration for
the model, `on` works like `shadow`.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from router.answers.calibration import Calibrations
from router.answers.confidence import (
    Confidence,
    Signal,
    check_score,
    confidence,
    without_thoughts,
)
from router.answers.self_check import probability_of_yes, self_check
from router.backend import Chained, ConfidenceMode, Relayed, Reply
from router.errors import BackendError, UnsureAnswer
from router.request import ChatRequest

SHORT_TOKENS: Final = 32
BAND: Final = 25.0
"""Most points below the threshold at which a local answer is judged."""
CHECK_MISSES: Final = 3
"""After this many self-checks in a row without a probability, the model is not asked again."""

Ask = Callable[[ChatRequest], Awaitable[Reply]]
"""Sends a request to the model that gave the answer."""


@dataclass(slots=True)
class Trust:
    """The signals of one local answer."""

    confidence: Confidence | None = None
    check: float | None = None
    """The score of the self-check."""
    check_ms: float | None = None
    probability: float | None = None
    """Probability that the answer is good enough; None without a calibration."""

    def figures(self) -> dict[str, float]:
        """Return the known figures by name, for the journal."""
        found: dict[str, float | None] = {
            "check": self.check,
            "check_ms": self.check_ms,
            "probability": self.probability,
        }
        if (said := self.confidence) is not None:
            found |= {
                "tokens": said.tokens,
                "worst": said.worst,
                "sum": said.total,
                "mean": said.mean,
                "first_entropy": said.first_entropy,
                "words": said.score,
            }
        return {name: round(value, 4) for name, value in found.items() if value is not None}


class Truster:
    """Judges local answers by their signals and the calibrations."""

    def __init__(self, mode: ConfidenceMode, calibrations: Calibrations, threshold: float) -> None:
        self.mode = mode
        self.calibrations = calibrations
        self._threshold = threshold
        self._check_misses: dict[str, int] = {}

    @property
    def band(self) -> tuple[float, float]:
        """Return the range of scores in which local answers are judged; the end is not in it."""
        return self._threshold - BAND, self._threshold

    def may_refuse(self, score: float, model: str) -> bool:
        """Return whether an answer to a prompt of this score may be held and refused."""
        lowest, threshold = self.band
        near = lowest <= score < threshold
        return self.mode == "on" and near and self.calibrations.knows(model)

    def read(self, reply: Reply, model: str) -> Trust:
        """Return the signals of the answer's tokens that have been read so far."""
        if not isinstance(reply, Relayed) or reply.logprobs is None:
            return Trust()
        said = reply.logprobs.tokens()
        tokens = without_thoughts(said)
        first = reply.logprobs.first_alternatives() if len(tokens) == len(said) else []
        trust = Trust(confidence((logprob for _, logprob in tokens), first))
        if trust.confidence is not None:
            trust.probability = self._probability(model, "words", trust.confidence.score)
        return trust

    async def judge(
        self, reply: Reply, request: ChatRequest, model: str, backend: str, ask: Ask
    ) -> Trust:
        """Return the signals of an answer. Raises UnsureAnswer if it is too unlikely to be good.

        Chunks of a stream that were read for this are put back in front.
        """
        if not isinstance(reply, Relayed):
            return Trust()
        if reply.document is None:
            if not await _has_ended_early(reply):
                return Trust()
            trust = self.read(reply, model)
        else:
            trust = self.read(reply, model)
            text = _text(reply.document)
            if text and self._should_check(trust, model):
                await self._check(trust, self_check(request, text), model, ask)
        signal: Signal = "words" if trust.check is None else "check"
        least = self.calibrations.least(model, signal)
        if trust.probability is not None and least is not None and trust.probability < least:
            raise UnsureAnswer(
                f"The {backend} model is not sure enough of its answer"
                f" ({trust.probability:.0%}, at least {least:.0%} is wanted).",
                backend=backend,
                trust=trust.figures(),
            )
        return trust

    def _should_check(self, trust: Trust, model: str) -> bool:
        if self.calibrations.least(model, "check") is None:
            return False
        if self._check_misses.get(model, 0) >= CHECK_MISSES:
            return False
        said = trust.confidence
        return trust.probability is None or said is None or said.tokens > SHORT_TOKENS

    async def _check(self, trust: Trust, check: ChatRequest, model: str, ask: Ask) -> None:
        began = time.perf_counter()
        p_yes = await p_yes_of(check, ask)
        trust.check_ms = (time.perf_counter() - began) * 1000
        if p_yes is None:
            self._check_misses[model] = self._check_misses.get(model, 0) + 1
            return
        self._check_misses[model] = 0
        trust.check = check_score(p_yes)
        trust.probability = self._probability(model, "check", trust.check)

    def _probability(self, model: str, signal: Signal, score: float) -> float | None:
        curve = self.calibrations.curve(model, signal)
        return curve.probability(score) if curve is not None else None


async def p_yes_of(check: ChatRequest, ask: Ask) -> float | None:
    """Ask the self-check and return the probability of yes; None if it cannot be known."""
    try:
        reply = await ask(check)
    except BackendError:
        return None
    try:
        document = reply.document if isinstance(reply, Relayed) else None
        return probability_of_yes(document) if document is not None else None
    finally:
        await reply.aclose()


async def _has_ended_early(reply: Relayed) -> bool:
    """Return whether the answer ends within SHORT_TOKENS tokens; reads it as far as needed."""
    if reply.logprobs is None:
        return False
    read: list[bytes] = []
    ended = True
    async for block in reply.chunks:
        read.append(block)
        if len(reply.logprobs.tokens()) > SHORT_TOKENS:
            ended = False
            break
    reply.chunks = Chained(read, reply.chunks)
    return ended


def _text(document: Mapping[str, Any]) -> str:
    """Return the words of a whole chat answer that calls no tool; else ""."""
    match document:
        case {"choices": [{"message": {"tool_calls": [_, *_]}}, *_]}:
            return ""
        case {"choices": [{"message": {"content": str(text)}}]}:
            return text
    return ""
