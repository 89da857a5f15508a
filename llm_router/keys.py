"""`llm-router keys`: make, list and revoke the keys of a team.

    llm-router keys add ana --budget 5 --sides local,cloud
    llm-router keys list
    llm-router keys revoke ana

The file is that of ROUTER_KEYS_FILE. A running server notices a change within a second.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import env_file
from config import settings_or_exit
from router.backend import Target
from router.state import team

FILE_NAME: Final = "keys.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the three commands; returns the exit status."""
    options = _parser().parse_args(arguments)
    path, is_set = _file(options.file)
    try:
        match options.command:
            case "add":
                key = team.add(
                    path, options.name, budget_usd_per_day=options.budget, sides=options.sides
                )
                print(key)
                print(f"The key of {options.name}; it is shown only now.", file=sys.stderr)
            case "revoke":
                team.revoke(path, options.name)
                print(f"The key of {options.name} is revoked.", file=sys.stderr)
            case _:
                _list(path)
    except team.BadKeysFile as error:
        print(error, file=sys.stderr)
        return 1
    if not is_set and options.command == "add":
        print(f"For the server to use it, set ROUTER_KEYS_FILE={path}", file=sys.stderr)
    return 0


def _list(path: Path) -> None:
    members = team.read(path) if path.exists() else []
    width = max([len("name"), *(len(member.name) for member in members)])
    print(f"{'name':{width}}  {'USD a day':>9}  {'sides':11}  created")
    for member in members:
        limit = member.budget_usd_per_day
        budget = "-" if limit is None else f"{limit:g}"
        sides = ",".join(member.sides)
        print(f"{member.name:{width}}  {budget:>9}  {sides:11}  {member.created}".rstrip())


def _file(given: Path | None) -> tuple[Path, bool]:
    """Return the file of the keys, and whether the server will find it."""
    setting = settings_or_exit().router_keys_file
    known = Path(setting).expanduser() if setting else None
    path = given or known or env_file.user_file().with_name(FILE_NAME)
    return path, known is not None and path.resolve() == known.resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llm-router keys",
        description="Make, list and revoke the keys of a team.",
        epilog="A running server notices a change within a second.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    made = commands.add_parser("add", help="make a key and print it once")
    made.add_argument("name", help="of the person or program")
    made.add_argument(
        "--budget", type=_usd, metavar="USD", help="what the cloud may cost a day (no limit)"
    )
    made.add_argument(
        "--sides", type=_sides, default=team.SIDES, help="local, cloud, or local,cloud (both)"
    )
    listed = commands.add_parser("list", help="list the names, without their keys")
    revoked = commands.add_parser("revoke", help="remove a key")
    revoked.add_argument("name")
    for command in (made, listed, revoked):
        command.add_argument("--file", type=Path, help="another file than ROUTER_KEYS_FILE")
    return parser


def _usd(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = math.nan
    if not 0 <= amount < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount in USD")
    return amount


def _sides(text: str) -> tuple[Target, ...]:
    wanted = {side.strip() for side in text.split(",")}
    if not wanted <= set(team.SIDES):
        raise argparse.ArgumentTypeError(f"{text!r} is not local, cloud, or local,cloud")
    return tuple(side for side in team.SIDES if side in wanted)
