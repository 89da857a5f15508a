"""Install a lock file with pip, with progress; on failure say in one line what to do.

    python tools/install.py "what the router needs" -r requirements.lock

It uses only the standard library, because it runs before anything is installed.
"""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Final

LOG: Final = Path(sys.prefix) / "install.log"
ADDRESS_UNREACHABLE: Final = re.compile(
    r"Failed to establish a new connection|NameResolutionError|Network is unreachable"
    r"|ConnectTimeout|ReadTimeout|ProxyError|Max retries exceeded",
)
INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C has ended."""
PLAIN_STEP: Final = 20
"""Packages between two lines of progress, if the output is no terminal."""


def main() -> int:
    """Run pip; returns its exit status."""
    name, *arguments = sys.argv[1:]
    try:
        return install(name, arguments)
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on.", file=sys.stderr)
        return INTERRUPTED


def install(name: str, arguments: list[str]) -> int:
    """Run pip and show its progress; return its exit status."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--retries", "2"]
    count = packages(arguments)
    said = []
    with subprocess.Popen(
        [*pip, "--progress-bar", "off", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        begun = 0
        for line in process.stdout:
            said.append(line)
            if line.startswith(("Collecting ", "Processing ", "Requirement already satisfied: ")):
                begun += 1
                show(f"Installing {name}: {min(begun, count)} of {count} packages", begun, count)
            elif line.startswith("Installing collected packages"):
                show(f"Installing {name}: unpacking", count, count)
    LOG.write_text("".join(said), "utf-8")
    if sys.stdout.isatty():
        print()
    if process.returncode != 0:
        print(f"Installing {name} failed. {advice(''.join(said))}", file=sys.stderr)
    return process.returncode


def packages(arguments: list[str]) -> int:
    """Return how many packages the lock files name."""
    files = [Path(file) for option, file in pairwise(arguments) if option == "-r"]
    return sum(len(re.findall(r"^\S+==", file.read_text("utf-8"), re.MULTILINE)) for file in files)


def show(text: str, begun: int, count: int) -> None:
    """Draw progress over the last one, or now and then as a line."""
    if sys.stdout.isatty():
        print(f"\r{text:70}", end="", flush=True)
    elif begun % PLAIN_STEP == 0 or begun == count:
        print(text, flush=True)


def advice(said: str) -> str:
    """Return what to do about a failure, from what pip said."""
    if ADDRESS_UNREACHABLE.search(said):
        return (
            "The package index cannot be reached: check the network (behind a proxy set"
            f" HTTPS_PROXY), then run the same command again. Details: {LOG}"
        )
    if "No space left on device" in said:
        return "The disk is full: make room, then run the same command again."
    errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE)
    return f"{errors[-1] if errors else 'pip said nothing of it.'} Details: {LOG}"


if __name__ == "__main__":
    sys.exit(main())
