"""The subcommands of `llm-router`. Each is a few lines over the package that does the work."""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from config import VERSION
from launch import imported

COMMANDS: Final = {
    "serve": "start the server",
    "chat": "chat in this terminal, or ask one question",
    "classify": "show where a prompt would go and why, without asking a model",
    "tune": "find the threshold that suits your traffic",
    "keys": "make, list and revoke the keys of a team",
    "doctor": "check the installation, the settings and both sides",
    "service": "run the server in the background, from login on",
}

MODULES: Final = {
    "serve": "web.main",
    "chat": "chat.main",
    "classify": "llm_router.classify",
    "tune": "router.tuning.main",
    "keys": "llm_router.keys",
    "doctor": "llm_router.doctor",
    "service": "llm_router.service",
}
"""Only the subcommand's own is imported: the server does without the chat's libraries."""
OF_PROGRAMS: Final = frozenset({"serve", "chat", "tune"})
"""Subcommands that are programs of a clone too, whose help has another name."""


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
    arguments = given[1:]
    program = imported(MODULES[options.command])
    if options.command in OF_PROGRAMS:
        return int(program.main(arguments, prog=f"llm-router {options.command}"))
    return int(program.main(arguments))
