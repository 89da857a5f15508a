"""The cost of cloud answers, and the savings of local ones.

Prices per model and day come from genai-prices, a dated list that ships with the program, and from
the user's PRICES, which win. A price that is not known is None, never 0.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from router.events import Usage
from router.telemetry.record import Record

Override = Mapping[Literal["input", "cached", "output"], float]
"""A model's own prices, in USD per million tokens; `cached` may be left out: as `input`."""
MTOK: Final = 1_000_000
WARM_S: Final = 300
"""Time that a cloud caches the beginning of a prompt (default of Claude and Gemini)."""
LEAST_CACHED_TOKENS: Final = 1024
"""Shorter beginnings are not cached (limit of Claude Sonnet and Gemini Flash)."""
MOST_CONVERSATIONS: Final = 2_000


@dataclass(frozen=True, slots=True)
class Rates:
    """USD per million tokens, for prompts of `from_tokens` and more."""

    input: float
    output: float
    cached: float
    cache_write: float
    from_tokens: int = 0


@dataclass(slots=True)
class Prices:
    """The prices of models, looked up once per model and day.

    `overrides`: a user's own prices by model.
    `cloud_model`: the model that local answers are compared with, None for no comparison.
    """

    overrides: Mapping[str, Override] | None = None
    cloud_model: str | None = None
    clock: Callable[[], float] = time.time
    _rates: dict[str, tuple[Rates, ...] | None] = field(default_factory=dict)
    _day: int = 0
    _sent: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    def warm(self) -> None:
        """Load the price list (50 ms, 6 MB); for a thread, before the first answer ends."""
        self.rates(self.cloud_model or "")

    def rates(self, model: str) -> tuple[Rates, ...] | None:
        """Return the model's prices today by prompt size, cheapest first; None if unknown."""
        day = int(self.clock() // 86_400)
        if day != self._day:
            self._rates, self._day = {}, day
        if model not in self._rates:
            own = (self.overrides or {}).get(model)
            self._rates[model] = _overridden(own) if own else _listed(model, self.clock())
        return self._rates[model]

    def cost_usd(self, model: str, usage: Usage) -> float | None:
        """Return the cost of an answer of this model; None if a price is unknown."""
        parts = [self._part_usd(name, part) for name, part in usage.by_model]
        parts.append(self._part_usd(model, _own_part(usage)))
        known = [usd for usd in parts if usd is not None]
        return sum(known) if len(known) == len(parts) else None

    def _part_usd(self, model: str, usage: Usage) -> float | None:
        """Return the price of tokens that all belong to one model."""
        at = self._rates_for(model, usage.prompt_tokens)
        if at is None:
            return None
        plain = usage.prompt_tokens - usage.cached_tokens - usage.cache_write_tokens
        usd = (
            max(plain, 0) * at.input
            + usage.cached_tokens * at.cached
            + usage.cache_write_tokens * at.cache_write
            + usage.completion_tokens * at.output
        )
        return usd / MTOK

    def saved_usd(self, usage: Usage, cached_tokens: int = 0) -> float | None:
        """Return an estimate of what the cloud would have charged for a local answer.

        The same token counts at the cloud model's prices, `cached_tokens` of them at its price for
        cached input. The surcharge for writing a cache is left out, so the estimate is low.
        """
        if self.cloud_model is None:
            return None
        at = self._rates_for(self.cloud_model, usage.prompt_tokens)
        if at is None:
            return None
        cached = min(cached_tokens, usage.prompt_tokens)
        plain = usage.prompt_tokens - cached
        return (plain * at.input + cached * at.cached + usage.completion_tokens * at.output) / MTOK

    def _rates_for(self, model: str, prompt_tokens: int) -> Rates | None:
        """Return the model's prices today for a prompt of this size."""
        found = None
        for rates in self.rates(model) or ():
            if prompt_tokens >= rates.from_tokens:
                found = rates
        return found

    def price(self, record: Record) -> None:
        """Fill in the cost or the savings of an ended request, once."""
        usage = record.usage
        if record.target == "local":
            record.cost_usd = 0.0
            if usage is not None:
                record.saved_usd = self.saved_usd(usage, self._cached_tokens(record))
        elif record.target == "cloud" and usage is not None:
            record.cost_usd = self.cost_usd(record.model, usage)
        if usage is not None and record.conversation:
            self._sent[record.conversation] = (record.time, usage.total_tokens)
            self._sent.move_to_end(record.conversation)
            if len(self._sent) > MOST_CONVERSATIONS:
                self._sent.popitem(last=False)

    def _cached_tokens(self, record: Record) -> int:
        """Return the tokens that the cloud would have cached: those of the conversation's last
        request, if it was less than five minutes ago."""
        at, tokens = self._sent.get(record.conversation, (0.0, 0))
        return tokens if record.time - at < WARM_S and tokens >= LEAST_CACHED_TOKENS else 0


def _own_part(usage: Usage) -> Usage:
    """Return the usage without the parts of other models."""
    others = [part for _, part in usage.by_model]
    if not others:
        return usage
    return Usage(
        usage.prompt_tokens - sum(part.prompt_tokens for part in others),
        usage.completion_tokens - sum(part.completion_tokens for part in others),
        usage.cached_tokens - sum(part.cached_tokens for part in others),
        usage.cache_write_tokens - sum(part.cache_write_tokens for part in others),
    )


def _overridden(own: Override) -> tuple[Rates, ...]:
    usd = own["input"]
    return (Rates(usd, own["output"], own.get("cached", usd), cache_write=usd),)


def _listed(model: str, now: float) -> tuple[Rates, ...] | None:
    # Imported late: it costs 50 ms and 6 MB, and a router without a cloud never needs it.
    import genai_prices

    today = datetime.fromtimestamp(now, UTC)
    try:
        found = genai_prices.calc_price(
            genai_prices.Usage(), model, genai_request_timestamp=today
        ).model_price
    except LookupError:
        return None
    if found.input_mtok is None or found.output_mtok is None:
        return None
    # A tier counts from the token after its start, and then for the whole prompt.
    starts = {0} | {tier.start + 1 for tier in getattr(found.input_mtok, "tiers", ())}
    return tuple(_rates_at(found, start) for start in sorted(starts))


def _rates_at(found: Any, from_tokens: int) -> Rates:
    def usd(price: Any, default: float = 0.0) -> float:
        if price is None:
            return default
        amount = getattr(price, "base", price)
        for tier in getattr(price, "tiers", ()):
            if tier.start < from_tokens:
                amount = tier.price
        return float(amount)

    plain = usd(found.input_mtok)
    return Rates(
        input=plain,
        output=usd(found.output_mtok),
        cached=usd(found.cache_read_mtok, plain),
        cache_write=usd(found.cache_write_mtok, plain),
        from_tokens=from_tokens,
    )
