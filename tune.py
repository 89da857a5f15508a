"""Find the threshold that suits your traffic.

    python tune.py                          what each threshold would have done with your requests
    python tune.py --local-share 70         the one that keeps 70 % of them local
    python tune.py --max-cost 5/day         the one that keeps the cloud under 5 USD a day
    python tune.py --local-share 70 --write and write it to .env
    python tune.py compare --sample 50      how often your local model is as good as the cloud

The first ones read the journal and ask no model. Exit status: 0, 1 when there is nothing to go by
or no threshold will do, 2 for unusable settings or arguments.
"""

import argparse
import asyncio
import io
import math
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text

from config import ENV_FILE, Settings, load_settings, settings_or_exit
from router.build import assemble
from router.errors import RouterError
from router.telemetry.journal import DAY_S, journal_path
from router.telemetry.journal_file import JournalFile
from router.telemetry.prices import Prices
from router.tuning import compare, judge, replay
from router.tuning.compare import Prompt
from router.tuning.env_file import write_setting
from router.tuning.judge import Compared, NoVerdict, Rate
from router.tuning.replay import Outcome, Replay

PER_DAY = {"day": 1.0, "week": 7.0, "month": 30.0}
STEP = 5
COME_AGAIN = "Use the router for a while, then come again."
LOCAL, CLOUD = "cyan", "magenta"


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    settings = settings_or_exit()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    if options.command == "compare":
        return show_comparison(options, settings, console)
    return show_replay(options, settings, console, time.time())


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tune.py", description="Find the threshold that suits your traffic."
    )
    parser.set_defaults(command="replay")
    parser.add_argument("--days", type=_days, default=30, help="how far back to look (default: 30)")
    parser.add_argument(
        "--local-share", type=_percent, metavar="PERCENT", help="keep at least this share local"
    )
    parser.add_argument(
        "--max-cost", type=_usd_per_day, metavar="USD/day", help="also 30/week, 100/month"
    )
    parser.add_argument("--write", action="store_true", help="write the threshold to .env")
    commands = parser.add_subparsers()
    both = commands.add_parser(
        "compare",
        help="have both sides answer your prompts, and the cloud judge them blind",
        description="Both sides answer; the cloud model judges blind, in both orders. Costs money:"
        " it says how much, and asks, before it begins.",
    )
    both.set_defaults(command="compare")
    both.add_argument(
        "--sample", type=_count, default=50, metavar="N", help="prompts (default: 50)"
    )
    both.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help='instead of the journal\'s: one prompt a line, or {"prompt": ...} a line (.jsonl)',
    )
    both.add_argument(
        "--quality",
        type=_percent,
        default=0.9,
        metavar="PERCENT",
        help="of what stays local, how much must be as good (default: 90)",
    )
    both.add_argument("--state", type=Path, metavar="FILE", help="where results are kept")
    both.add_argument("--yes", action="store_true", help="do not ask")
    both.add_argument("--write", action="store_true", help="write the threshold to .env")
    return parser


# ---- the replay


def show_replay(
    options: argparse.Namespace, settings: Settings, console: Console, now: float
) -> int:
    path = journal_path(settings.journal_path)
    if path is None:
        console.print("JOURNAL_PATH is off: there are no requests to go by.")
        return 1
    if not path.exists():
        console.print(f"There is no journal yet: {path}. {COME_AGAIN}")
        return 1
    try:
        past = replay.read(
            JournalFile(path), now - options.days * DAY_S, now, settings.unsure_target
        )
    except sqlite3.Error as error:
        console.print(f"The journal {path} cannot be read ({error}).")
        return 1
    if not past.past:
        console.print(
            f"No answered requests in the last {days(options.days)} in {path}. {COME_AGAIN}"
        )
        return 1
    current = settings.complexity_threshold
    wished = options.local_share is not None or options.max_cost is not None
    best = past.recommend(options.local_share, options.max_cost) if wished else None
    console.print(picture(past, current, best, console))
    console.print(summary(past))
    if not wished:
        console.print("Say what you want: --local-share 70, --max-cost 5/day; --write keeps it.")
        return 0
    if best is None:
        most = past.at(100)
        console.print(
            f"No threshold does that: at 100, {most.local_share:.0%} stays local and the cloud"
            f" costs {usd(most.usd_per_day)} a day, for what never stays local (pictures, long"
            " prompts, forced ones)."
        )
        return 1
    now_at = past.at(current)
    console.print(
        f"Recommended: [bold]COMPLEXITY_THRESHOLD={best.threshold:g}[/bold]; {best.local_share:.0%}"
        f" local (now {now_at.local_share:.0%}), {usd(best.usd_per_day)} a day"
        f" (now {usd(now_at.usd_per_day)})."
    )
    if options.write:
        write_and_say(best.threshold, console)
    elif best.threshold != current:
        console.print("Add --write to have it in .env.")
    return 0


def picture(past: Replay, current: float, best: Outcome | None, console: Console) -> Table:
    """One row a threshold: what stays local and what goes to the cloud, as a bar."""
    width = console.width
    full, light, _ = blocks(console)
    marks = {float(t) for t in range(0, 101, STEP)} | {current}
    marks |= {best.threshold} if best else set()
    narrow = width < 72
    bar = max(8, min(40, width - (42 if narrow else 64)))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    names = ["threshold", "stays local", "a day", "answer in", "bad avoided"]
    for name in names[:3] if narrow else names:
        table.add_column(name, justify="left" if "local" in name else "right", no_wrap=True)
    for threshold in sorted(marks):
        outcome = past.at(threshold)
        is_best = best is not None and threshold == best.threshold
        note = " recommended" if is_best else " now" if threshold == current else ""
        local = round(outcome.local_share * bar)
        share = Text.assemble(
            (full * local, LOCAL), (light * (bar - local), CLOUD), f" {outcome.local_share:4.0%}"
        )
        cells: list[str | Text] = [f"{threshold:g}", share, usd(outcome.usd_per_day)]
        if not narrow:
            cells += [seconds(outcome.mean_ms), f"{outcome.bad_avoided} of {past.bad}"]
        table.add_row(*cells, Text(note), style="bold" if is_best else "")
    return table


def summary(past: Replay) -> str:
    """What the figures rest on."""
    moving = sum(abs(one.local_from) != float("inf") for one in past.past)
    parts = [
        f"{len(past.past)} requests in {days(past.days)}, {moving} decided by the score.",
        "Times and prices of requests that would change sides are estimates.",
    ]
    if past.unpriced:
        parts.append(f"{past.unpriced} without a known price or token count are taken as free.")
    return " ".join(parts)


def blocks(console: Console) -> tuple[str, str, str]:
    """Full, light, none: what bars are drawn with, as far as the terminal knows it."""
    try:
        "█░·".encode(console.encoding)
    except UnicodeEncodeError:
        return "#", "-", "."
    return "█", "░", "·"


def days(count: float) -> str:
    return "1 day" if round(count) == 1 else f"{count:.0f} days" if count > 1 else f"{count:g} days"


def usd(amount: float) -> str:
    return f"${amount:.2f}" if amount >= 0.095 or amount == 0 else f"${amount:.2g}"


def seconds(ms: float | None) -> str:
    return "-" if ms is None else f"{ms / 1000:.1f} s"


def write_and_say(threshold: float, console: Console) -> None:
    write_setting(ENV_FILE, "COMPLEXITY_THRESHOLD", f"{threshold:g}")
    console.print(f"Written to {ENV_FILE}. Restart the server to use it.")
    if load_settings().complexity_threshold != threshold:
        console.print("But the environment sets COMPLEXITY_THRESHOLD too, and wins: unset it.")


# ---- both sides compared


def show_comparison(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    path = journal_path(settings.journal_path)
    try:
        if options.prompts is not None:
            pool = compare.prompts_in(options.prompts)
        else:
            pool = compare.journalled(JournalFile(path)) if path else []
    except (OSError, ValueError, sqlite3.Error) as error:
        console.print(f"The prompts cannot be read: {error}")
        return 1
    if not pool:
        console.print(
            "There are no prompts to go by. Set JOURNAL_PROMPTS=true and use the router for a"
            " while, or name a file: --prompts FILE."
        )
        return 1
    try:
        return asyncio.run(compare_sides(options, settings, console, pool))
    except KeyboardInterrupt:
        console.print("Stopped. The same command goes on where this one ended.")
        return 130


async def compare_sides(
    options: argparse.Namespace, settings: Settings, console: Console, pool: list[Prompt]
) -> int:
    parts = assemble(settings)
    prices = parts.ledger.prices
    try:
        await parts.start()
        sides = await parts.router.sides()
        for side in sides:
            if not side.usable:
                console.print(f"Both sides are needed. {side.why_not}")
                return 1
        models = (sides[0].candidate().model, sides[1].candidate().model)
        state = options.state or (journal_path(None) or Path()).with_name("compare.jsonl")
        sample = compare.sampled(pool, options.sample, *models)
        done = compare.load(state, sample)
        todo = {key: prompt for key, prompt in sample.items() if key not in done}
        if todo and not agreed(options, console, len(done), list(todo.values()), models, prices):
            return 1
        with Progress(console=console, transient=True) as progress:
            bar = progress.add_task("Comparing", total=len(sample), completed=len(done))
            for key, prompt in todo.items():
                try:
                    done[key] = await compare.compare(parts.router, key, prompt, models, prices)
                    compare.keep(state, done[key])
                except NoVerdict:
                    console.print("Left out: the judge gave no verdict.")
                except RouterError as error:
                    console.print(f"Left out: {parts.redact(error.message)}", markup=False)
                progress.advance(bar)
    finally:
        await parts.aclose()
    return show_verdicts(options, console, list(done.values()), models)


def agreed(
    options: argparse.Namespace,
    console: Console,
    done: int,
    todo: list[Prompt],
    models: tuple[str, str],
    prices: Prices,
) -> bool:
    """Say what it will cost, and ask."""
    usage = compare.estimate(todo)
    cost = prices.cost_usd(models[1], usage)
    before = f", {done} are done" if done else ""
    console.print(
        f"{len(todo)} prompts to {models[0]} and {models[1]}{before}. About"
        f" {compare.CLOUD_CALLS * len(todo)} cloud calls, {usage.total_tokens:,} tokens,"
        f" {'of unknown price' if cost is None else usd(cost)} (estimate).",
        markup=False,
    )
    if options.yes:
        return True
    if not sys.stdin.isatty():
        console.print("Add --yes to go on without being asked.")
        return False
    try:
        return Confirm.ask("Go on?", console=console, default=False)
    except EOFError:
        console.print()
        return False


def show_verdicts(
    options: argparse.Namespace,
    console: Console,
    results: list[Compared],
    models: tuple[str, str],
) -> int:
    if not results:
        console.print("Nothing could be compared.")
        return 1
    bar = max(8, min(40, console.width - 44))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    for name in ("score", "compared", "as good", "95 % interval", ""):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    for (low, high), rate in judge.by_band(results):
        table.add_row(f"{low}-{min(high, 100)}", *rate_cells(rate, bar, blocks(console)))
    everything = judge.quality_at(results, 101)
    table.add_row("all", *rate_cells(everything, bar, blocks(console)), style="bold")
    console.print(f"How often {models[0]} is as good as {models[1]}:", markup=False)
    console.print(table)
    cost = compare.cost_of(results)
    console.print(f"In the cloud this took {'an unknown amount' if cost is None else usd(cost)}.")
    best = judge.threshold_for(results, options.quality)
    if best is None:
        console.print(f"No threshold keeps {options.quality:.0%} of what stays local as good.")
        return 1
    kept = judge.quality_at(results, best)
    least, most = kept.interval
    console.print(
        f"Recommended for {options.quality:.0%}: [bold]COMPLEXITY_THRESHOLD={best}[/bold]; below it"
        f" {kept.value:.0%} of {kept.of} were as good ({least:.0%} to {most:.0%})."
    )
    if options.write:
        write_and_say(best, console)
    return 0


def rate_cells(rate: Rate, width: int, blocks: tuple[str, str, str]) -> list[str | Text]:
    """How many, the share, its interval, and a picture of it."""
    full, _, none = blocks
    low, high = rate.interval
    first, last = round(low * width), max(round(low * width) + 1, round(high * width))
    drawn = Text.assemble(
        (none * first, "dim"), (full * (last - first), LOCAL), (none * (width - last), "dim")
    )
    return [str(rate.of), f"{rate.value:.0%}", f"{low:.0%} to {high:.0%}", drawn]


# ---- arguments


def _number(text: str, least: float, most: float, meant: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not {meant}")
    return number


def _count(text: str) -> int:
    return int(_number(text, 1, 1e6, "a number from 1"))


def _days(text: str) -> float:
    return _number(text, 0.01, 36_500, "a number of days")


def _percent(text: str) -> float:
    return _number(text.removesuffix("%"), 0, 100, "a percentage, for example 70") / 100


def _usd_per_day(text: str) -> float:
    amount, _, span = text.removeprefix("$").partition("/")
    if (span or "day") not in PER_DAY:
        amount = text
    usd = _number(amount, 0, 1e6, "an amount, for example 5/day, 30/week or 100/month")
    return usd / PER_DAY[span or "day"]


if __name__ == "__main__":
    sys.exit(main())
