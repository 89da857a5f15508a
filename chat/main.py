"""The command line of the chat.

    chat.py                               a conversation
    chat.py "a question"                  one answer, as plain text on stdout
    cat notes.txt | chat.py "Summarize"   the question is about what comes through the pipe
    echo "a question" | chat.py           the pipe holds the question

Exit status: 0, 1 when a single question could not be answered, 2 for unusable settings, 130 after
Ctrl-C, 141 when the reader of stdout has gone.
"""

import argparse
import asyncio
import logging
import sys
from collections.abc import Sequence

from chat import served
from chat.in_process import InProcess
from chat.session import AUTO, Chat
from chat.text import show_plain, tolerate_any_text, valid, visible, with_document
from config import bad_settings_exit, settings_or_exit
from router.build import assemble
from router.errors import RouterError
from router.parts.assembly import Assembly


def main(arguments: Sequence[str] | None = None, prog: str = "chat.py") -> int:
    """Run the chat; returns the exit status."""
    options = _parser(prog).parse_args(arguments)
    tolerate_any_text()
    settings = settings_or_exit()
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    with bad_settings_exit():
        assembly = assemble(settings)
    question = valid(" ".join(options.question))
    if not sys.stdin.isatty():
        most = settings.max_body_bytes
        piped = sys.stdin.buffer.read(most + 1)
        if len(piped) > most:
            print(
                f"The pipe holds more than MAX_BODY_MB={settings.max_body_mb:g}.", file=sys.stderr
            )
            return 2
        question = with_document(question, piped.decode(errors="replace"))
        if not question:
            print("There is no question: pass one, or pipe one in.", file=sys.stderr)
            return 2
    return asyncio.run(_chat(assembly, options, question))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Chat with your local model and the cloud."
    )
    side = parser.add_mutually_exclusive_group()
    side.add_argument(
        "--local", action="store_const", const="local", dest="model", help="only the local side"
    )
    side.add_argument(
        "--cloud", action="store_const", const="cloud", dest="model", help="only the cloud"
    )
    parser.set_defaults(model=AUTO)
    parser.add_argument(
        "--in-process", action="store_true", help="do not use a server that runs already"
    )
    parser.add_argument("question", nargs="*", help="ask this, print the answer, and leave")
    return parser


async def _chat(assembly: Assembly, options: argparse.Namespace, question: str) -> int:
    """Answer the question, or converse if there is none; returns the exit status."""
    server, greeting = None, ""
    if not options.in_process:
        server, greeting = await served.find(assembly.settings)
    source = server or InProcess(assembly)
    chat = Chat(assembly, source, options.model)
    try:
        if question:
            return await _answer_once(chat, question)
        if isinstance(source, InProcess):
            source.start()
        await _converse(chat, greeting)
        return 0
    finally:
        await source.aclose()
        if server is not None:
            await assembly.aclose()


async def _converse(chat: Chat, greeting: str) -> None:
    # Imported late: a single answer needs no terminal.
    from rich.console import Console

    from chat.terminal import Terminal

    keep_history = chat.assembly.settings.chat_history == "on"
    await Terminal(chat, Console(), keep_history=keep_history).run(greeting)


async def _answer_once(chat: Chat, question: str) -> int:
    chat.say(question)
    try:
        await chat.answer(chat.model, show_plain)
    except RouterError as error:
        if chat.is_answered:
            show_plain("\n")
        print(error.message, file=sys.stderr)
        return 1
    if chat.is_answered and not chat.last_answer.endswith("\n"):
        show_plain("\n")
    if sys.stderr.isatty():
        print(visible(chat.provenance()), file=sys.stderr)
    return 0
