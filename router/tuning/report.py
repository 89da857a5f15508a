"""Prints the tuner's results: a row for each threshold, and how good the local model was."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from router.answers.calibration import SURE_LABELS
from router.answers.confidence import Signal
from router.telemetry.shadow import Shadow
from router.tuning import judge
from router.tuning.calibration import LEAST_LABELS, LEAST_OF_EITHER, Finding
from router.tuning.judge import Compared, Rate
from router.tuning.replay import Outcome, Replay

STEP: Final = 5
"""Points between two rows of the picture."""
NARROW: Final = 72
"""Columns below which the picture shows no times and no ratings."""
WIDEST_BAR: Final = 40
NARROWEST_BAR: Final = 8
PADDING: Final = 2
"""Blanks around a column."""
LOCAL, CLOUD = "cyan", "magenta"


def picture(past: Replay, current: float, best: Outcome | None, console: Console) -> Table:
    """Return one row for each threshold: what stays local and what goes to the cloud, as a bar."""
    full, light, _ = blocks(console)
    marks = {float(t) for t in range(0, 101, STEP)} | {current}
    marks |= {best.threshold} if best else set()
    names = ["threshold", "stays local", "a day", "answer in", "bad avoided", ""]
    if console.width < NARROW:
        names = [name for name in names if name not in ("answer in", "bad avoided")]
    outcomes = [past.at(threshold) for threshold in sorted(marks)]
    rows = [_cells(outcome, past, current, best) for outcome in outcomes]
    taken = sum(
        PADDING + max(len(name), *(len(row[name]) for row in rows))
        for name in names
        if name != "stays local"
    )
    percent = len(" 100%")
    room = console.width - taken - PADDING - percent
    bar = max(NARROWEST_BAR, min(WIDEST_BAR, room))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in names:
        is_left = name in ("stays local", "")
        table.add_column(name, justify="left" if is_left else "right", no_wrap=True)
    for outcome, row in zip(outcomes, rows, strict=True):
        local = round(outcome.local_share * bar)
        share = Text.assemble(
            (full * local, LOCAL), (light * (bar - local), CLOUD), f" {outcome.local_share:4.0%}"
        )
        is_best = best is not None and outcome.threshold == best.threshold
        cells = [share if name == "stays local" else Text(row[name]) for name in names]
        table.add_row(*cells, style="bold" if is_best else "")
    return table


def _cells(outcome: Outcome, past: Replay, current: float, best: Outcome | None) -> dict[str, str]:
    is_best = best is not None and outcome.threshold == best.threshold
    return {
        "threshold": f"{outcome.threshold:g}",
        "a day": usd(outcome.usd_per_day),
        "answer in": seconds(outcome.mean_ms),
        "bad avoided": f"{outcome.bad_avoided} of {past.bad}",
        "": "recommended" if is_best else "now" if outcome.threshold == current else "",
    }


def summary(past: Replay) -> str:
    """Return what the figures rest on."""
    moving = sum(abs(one.local_from) != float("inf") for one in past.past)
    parts = [
        f"{len(past.past)} requests in {days(past.days)}, {moving} decided by the score.",
        "Times and prices of requests that would change sides are estimates.",
    ]
    if past.unpriced:
        parts.append(f"{past.unpriced} without a known price or token count are taken as free.")
    return " ".join(parts)


def shadowed(shadow: Shadow) -> str:
    """Return a sentence on the effect that SHADOW_THRESHOLD would have had."""
    return (
        f"SHADOW_THRESHOLD={shadow.threshold:g}, noted for {shadow.requests} requests:"
        f" {shadow.shadow_local_share:.0%} local (in place of {shadow.local_share:.0%}),"
        f" {usd(shadow.shadow_cost_usd)} in the cloud (in place of {usd(shadow.cost_usd)},"
        " an estimate)."
    )


def verdicts(results: Sequence[Compared], console: Console) -> Table:
    """Return one row for each band of scores: how often the local model was as good."""
    bar = max(NARROWEST_BAR, min(WIDEST_BAR, console.width - 44))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("score", "compared", "as good", "95 % interval", ""):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    for (low, high), rate in judge.by_band(results):
        table.add_row(f"{low}-{min(high, 100)}", *_rate_cells(rate, bar, blocks(console)))
    everything = judge.quality_at(results, 101)
    table.add_row("all", *_rate_cells(everything, bar, blocks(console)), style="bold")
    return table


def confidence(
    findings: Sequence[Finding], results: Sequence[Compared], quality: float
) -> Iterator[str]:
    """Yield lines on what the local model's own probabilities are worth."""
    rated = sum(result.words is not None or result.check is not None for result in results)
    if not rated:
        yield "The local server gives no probabilities: LOCAL_CONFIDENCE is of no use with it."
        return
    if not findings:
        yield (
            f"{rated} answers came with probabilities. A calibration of LOCAL_CONFIDENCE needs"
            f" {LEAST_LABELS}, {LEAST_OF_EITHER} of them good and {LEAST_OF_EITHER} not."
        )
    for one in findings:
        signal, score = one.by_signal, one.by_score
        yield (
            f"{SIGNALS[one.calibration.signal]}, {one.labels} answers: AUROC {signal.value:.2f}"
            f" ({signal.low:.2f} to {signal.high:.2f}), the prompt score's {score.value:.2f}"
            f" ({score.low:.2f} to {score.high:.2f}); calibration error {one.error:.2f}."
        )
        yield (
            f"  With {quality:.0%} of what stays local as good, {one.stays_by_signal:.0%} of these"
            f" prompts could stay by it, {one.stays_by_score:.0%} by the prompt score."
        )
    if any(one.works for one in findings):
        yield "It works here: set LOCAL_CONFIDENCE=on."
    elif findings and max(one.labels for one in findings) < SURE_LABELS:
        yield f"Whether it works here shows from about {SURE_LABELS} answers on (--sample)."
    elif findings:
        yield "It does not surely beat the prompt score here: leave LOCAL_CONFIDENCE at shadow."


SIGNALS: Final[Mapping[Signal, str]] = {
    "words": "By the probabilities of the words",
    "check": "By the model's check of its answer",
}


def _rate_cells(rate: Rate, width: int, blocks: tuple[str, str, str]) -> list[str | Text]:
    """Return how many, the share, its interval, and a picture of it."""
    full, _, none = blocks
    low, high = rate.interval
    first, last = round(low * width), max(round(low * width) + 1, round(high * width))
    drawn = Text.assemble(
        (none * first, "dim"), (full * (last - first), LOCAL), (none * (width - last), "dim")
    )
    return [str(rate.of), f"{rate.value:.0%}", f"{low:.0%} to {high:.0%}", drawn]


def blocks(console: Console) -> tuple[str, str, str]:
    """Return what bars are drawn with, as far as the terminal knows it: full, light, none."""
    try:
        "█░·".encode(console.encoding)
    except UnicodeEncodeError:
        return "#", "-", "."
    return "█", "░", "·"


def days(count: float) -> str:
    """Return a number of days in words."""
    return "1 day" if round(count) == 1 else f"{count:.0f} days" if count > 1 else f"{count:g} days"


def usd(amount: float) -> str:
    """Return an amount of money; two digits that count where it is small."""
    return f"${amount:.2f}" if amount >= 0.095 or amount == 0 else f"${amount:.2g}"


def seconds(ms: float | None) -> str:
    """Return a time in seconds, `-` where it is not known."""
    return "-" if ms is None else f"{ms / 1000:.1f} s"
