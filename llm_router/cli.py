"""The subcommands of `llm-router`. Each is a few lines over the package that does the work."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Final

from config import VERSION

COMMANDS: Final = {
    "serve": "start the server",
    "chat": "chat in this terminal, or ask one question",
    "classify": "show where a prompt would go and why, without asking a model",
    "tune": "find the threshold that suits your traffic",
    "keys": "make, list and revoke the keys of a team",
    "doctor": "check the installation, the settings and both sides",
    "service": "run the server in the background, from login on",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="llm-router",
        description="Sends easy prompts to your local model and hard ones to the cloud.",
        epilog="llm-router COMMAND --help shows the options of a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"llm-router {VERSION}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, meaning in COMMANDS.items():
        commands.add_parser(name, help=meaning, add_help=False)
    options, _ = parser.parse_known_args(given[:1])
    run: dict[str, Callable[[list[str]], int]] = {
        "serve": _serve,
        "chat": _chat,
        "classify": _classify,
        "tune": _tune,
        "keys": _keys,
        "doctor": _doctor,
        "service": _service,
    }
    return run[options.command](given[1:])


# Each imports what it needs itself: the server does without the chat's libraries.


def _serve(arguments: list[str]) -> int:
    from web.main import main

    return main(arguments, prog="llm-router serve")


def _chat(arguments: list[str]) -> int:
    from chat.main import main

    return main(arguments, prog="llm-router chat")


def _tune(arguments: list[str]) -> int:
    from router.tuning.main import main

    return main(arguments, prog="llm-router tune")


def _keys(arguments: list[str]) -> int:
    from llm_router.keys import main

    return main(arguments)


def _doctor(arguments: list[str]) -> int:
    from llm_router.doctor import main

    return main(arguments)


def _service(arguments: list[str]) -> int:
    from llm_router.service import main

    return main(arguments)


def _classify(arguments: list[str]) -> int:
    from llm_router.classify import main

    return main(arguments)
