"""Find the threshold that suits your traffic.

    tune.py                          show the effect of each threshold on your requests
    tune.py --local-share 70         find the threshold that keeps 70 % of them local
    tune.py --max-cost 5/day         find the one that keeps the cloud under 5 USD a day
    tune.py --local-share 70 --write find it and write it to .env
    tune.py compare --sample 50      measure how often your local model is as good as the cloud

The first four read the journal and ask no model. Exit status: 0; 1 without requests or a fitting
threshold; 2 for unusable settings or arguments.
"""

import argparse
import asyncio
import io
import math
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.prompt import Confirm

import env_file
from config import Settings, bad_settings_exit, load_settings, settings_or_exit
from router.answers.calibration import Calibrations
from router.build import assemble, calibrations_path, journal_store
from router.errors import RouterError
from router.telemetry.journal import DAY_S, journal_path
from router.telemetry.journal_store import NoJournal, StoreError
from router.telemetry.lessons import COMPARED
from router.telemetry.prices import Prices
from router.telemetry.shadow import Shadow, shadow_since
from router.tuning import calibration, compare, judge, replay, report
from router.tuning.compare import Prompt
from router.tuning.judge import Compared, NoVerdict
from router.tuning.replay import Replay
from router.tuning.report import days, usd

PER_DAY: Final = {"day": 1.0, "week": 7.0, "month": 30.0}
COME_AGAIN: Final = "Use the router for a while, then come again."
HOW_TO_USE: Final = "A running server uses it after a restart or `kill -HUP`."


def main(arguments: Sequence[str] | None = None, prog: str = "tune.py") -> int:
    """Run the tuner; returns the exit status."""
    options = parser(prog).parse_args(arguments)
    settings = settings_or_exit()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    with bad_settings_exit():
        if options.command == "compare":
            return show_comparison(options, settings, console)
        return show_replay(options, settings, console, time.time())


def parser(prog: str = "tune.py") -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=prog, description="Find the threshold that suits your traffic."
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


def show_replay(
    options: argparse.Namespace, settings: Settings, console: Console, now: float
) -> int:
    """Print the effect of each threshold, and the one that meets the wishes."""
    store = journal_store(settings)
    if not store.place:
        console.print("JOURNAL_PATH is off: there are no requests to go by.")
        return 1
    since = now - options.days * DAY_S
    try:
        with closing(store):
            past = replay.read(store, since, now, settings.unsure_target)
            shadow = shadow_since(store, since)
    except NoJournal:
        console.print(f"There is no journal yet: {store.place}. {COME_AGAIN}", soft_wrap=True)
        return 1
    except StoreError as error:
        console.print(
            f"The journal {store.place} cannot be read ({error}).", soft_wrap=True, markup=False
        )
        return 1
    if not past.past:
        span = days(options.days)
        console.print(
            f"No answered requests in the last {span} in {store.place}. {COME_AGAIN}",
            soft_wrap=True,
        )
        return 1
    return _recommend(options, shadow, past, settings, console)


def _recommend(
    options: argparse.Namespace,
    shadow: Shadow | None,
    past: Replay,
    settings: Settings,
    console: Console,
) -> int:
    current = settings.complexity_threshold
    has_wishes = options.local_share is not None or options.max_cost is not None
    best = past.recommend(options.local_share, options.max_cost) if has_wishes else None
    now_at = past.at(current)
    console.print(report.picture(past, current, best, console))
    console.print(report.summary(past))
    if shadow is not None:
        console.print(report.shadowed(shadow))
    if not has_wishes:
        console.print("Say what you want: --local-share 70, --max-cost 5/day; --write keeps it.")
        return 0
    if best is None and options.max_cost is not None and not past.is_priced:
        console.print(
            "No price of a cloud is known, so no threshold can be chosen by --max-cost. Set"
            " PRICES, or use --local-share."
        )
        return 1
    if best is None:
        most = past.at(100)
        console.print(
            f"No threshold does that: at 100, {most.local_share:.0%} stays local and the cloud"
            f" costs {usd(most.usd_per_day)} a day, for what never stays local (pictures, long"
            " prompts, forced ones)."
        )
        return 1
    console.print(
        f"Recommended: [bold]COMPLEXITY_THRESHOLD={best.threshold:g}[/bold]; {best.local_share:.0%}"
        f" local (now {now_at.local_share:.0%}), {usd(best.usd_per_day)} a day"
        f" (now {usd(now_at.usd_per_day)})."
    )
    if best.usd_per_day > now_at.usd_per_day:
        more = usd(best.usd_per_day - now_at.usd_per_day)
        console.print(
            f"[yellow]That sends more to the cloud and costs {more} a day more than now.[/yellow]"
            f" COMPLEXITY_THRESHOLD={current:g}, as now, does what you want too."
        )
    if options.write:
        write_and_say(best.threshold, settings, console)
    elif best.threshold != current:
        console.print("Add --write to have it in .env.")
    return 0


def write_and_say(threshold: float, settings: Settings, console: Console) -> None:
    """Write the threshold to the .env file that was read, or to a new one."""
    path = settings.env_file.path if settings.env_file else env_file.new_file()
    env_file.write_setting(path, "COMPLEXITY_THRESHOLD", f"{threshold:g}")
    console.print(f"Written to {path}. {HOW_TO_USE}", soft_wrap=True)
    if load_settings().complexity_threshold != threshold:
        console.print("But the environment sets COMPLEXITY_THRESHOLD too, and wins: unset it.")


def show_comparison(options: argparse.Namespace, settings: Settings, console: Console) -> int:
    """Let both sides answer prompts, and print how often the local one is as good."""
    try:
        if options.prompts is not None:
            pool = compare.prompts_in(options.prompts)
        else:
            with closing(journal_store(settings)) as store:
                pool = compare.journalled(store)
    except NoJournal:
        pool = []
    except (OSError, ValueError, StoreError) as error:
        console.print(f"The prompts cannot be read: {error}", soft_wrap=True, markup=False)
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
    """Run the comparison on a sample of the prompts; stored results are not repeated."""
    # Every local answer needs log-probabilities. Both sides are forced, so none is refused.
    parts = assemble(settings.model_copy(update={"local_confidence": "on", "state_url": None}))
    prices = parts.ledger.prices
    try:
        await parts.start()
        sides = await parts.router.sides()
        for side in sides:
            if not side.usable:
                console.print(f"Both sides are needed. {side.why_not}")
                return 1
        models = (sides[0].candidate().model, sides[1].candidate().model)
        state = options.state or (journal_path(None) or Path()).with_name(COMPARED)
        sample = compare.sampled(pool, options.sample, *models)
        done = compare.load(state, sample)
        todo = {key: prompt for key, prompt in sample.items() if key not in done}
        if todo and not _agreed(options, console, len(done), list(todo.values()), models, prices):
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
    return _show_verdicts(options, settings, console, list(done.values()), models)


def _agreed(
    options: argparse.Namespace,
    console: Console,
    done: int,
    todo: list[Prompt],
    models: tuple[str, str],
    prices: Prices,
) -> bool:
    """Print the estimated cost; return whether the user agrees."""
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


def _show_verdicts(
    options: argparse.Namespace,
    settings: Settings,
    console: Console,
    results: list[Compared],
    models: tuple[str, str],
) -> int:
    if not results:
        console.print("No prompt could be compared.")
        return 1
    console.print(f"How often {models[0]} is as good as {models[1]}:", markup=False)
    console.print(report.verdicts(results, console))
    _show_confidence(options, settings, console, results, models[0])
    cost = compare.cost_of(results)
    console.print(f"The cloud calls cost {'an unknown amount' if cost is None else usd(cost)}.")
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
        write_and_say(best, settings, console)
    return 0


def _show_confidence(
    options: argparse.Namespace,
    settings: Settings,
    console: Console,
    results: list[Compared],
    model: str,
) -> None:
    """Print how well the model's own probabilities work, and store the calibrations."""
    found = calibration.findings(results, model, options.quality)
    for line in report.confidence(found, results, options.quality):
        console.print(line, markup=False)
    path = calibrations_path(settings)
    try:
        kept = Calibrations.load(path)
        for finding in found:
            kept.keep(path, finding.calibration)
        if found:
            console.print(f"Kept in {path}. {HOW_TO_USE}", soft_wrap=True)
    except (OSError, ValueError) as error:
        console.print(f"The calibrations cannot be kept: {error}", markup=False)


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
