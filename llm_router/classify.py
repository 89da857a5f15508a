"""`llm-router classify`: where a prompt would go and why, without asking a model."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

from chat.text import tolerate_any_text, valid
from config import bad_settings_exit, settings_or_exit
from router.build import assemble
from router.deciding.facts import Decision
from router.errors import RouterError
from router.request import ChatRequest
from web.views import classified


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the score, the side and the reasons; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="llm-router classify",
        description="Show where a prompt would go and why. No model is asked.",
    )
    parser.add_argument("prompt", nargs="*", help="the prompt; without one it is read from a pipe")
    parser.add_argument("--json", action="store_true", help="print what POST /classify answers")
    options = parser.parse_args(arguments)
    tolerate_any_text()
    prompt = valid(" ".join(options.prompt))
    if not prompt and not sys.stdin.isatty():
        prompt = sys.stdin.buffer.read().decode(errors="replace").strip()
    if not prompt:
        print("There is no prompt: pass one, or pipe one in.", file=sys.stderr)
        return 2
    with bad_settings_exit():
        found = asyncio.run(_decided(prompt))
    print(json.dumps(found, indent=2) if options.json else _in_words(found))
    return 0


async def _decided(prompt: str) -> dict[str, Any]:
    assembly = assemble(settings_or_exit(journal_path="off", journal_url=None, state_url=None))
    request = ChatRequest({"model": "auto", "messages": [{"role": "user", "content": prompt}]})
    outcome: Decision | RouterError
    try:
        outcome = await assembly.router.decide(request)
    except RouterError as error:
        outcome = error
    finally:
        await assembly.aclose()
    return classified(request, outcome, assembly.router.policy)


def _in_words(found: dict[str, Any]) -> str:
    target = found["target"] or "nowhere"
    why = found["reason"] or found["error"]
    lines = [f"score {found['score']:g}, threshold {found['threshold']:g}: {target} ({why})"]
    for name, points in found["signals"].items():
        # A word can stand behind several counts of a signal.
        words = dict.fromkeys(
            word for one in found["evidence"] if one["signal"] == name for word in one["words"]
        )
        lines.append(f"  {name:17} {points:+5.1f}  {', '.join(words)}".rstrip())
    if found["fix"]:
        lines.append(f"To let the local model take it: {found['fix']}")
    return "\n".join(lines)
