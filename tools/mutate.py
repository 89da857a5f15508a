"""Run the tests against small faults in the code, and list those that no test notices.

    python -m tools.mutate                          run all mutants
    python -m tools.mutate router/privacy chat/     run those of files with such a text in the path
    python -m tools.mutate --check                  only check that each mutant fits the code

A mutant is one edit: a text that stands once in a file, and its replacement. They are kept in
tests/mutants/*.toml, by file; an edit may name tests of its own in place of the file's. Each runs
in a copy of the checkout, with its tests up to the first that fails. That test has noticed the
fault if it passes without it. The next run begins with it. Exit status 1 if fewer than the wanted
share is noticed or a mutant does not fit. Needs Unix.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
MUTANTS: Final = ROOT / "tests" / "mutants"
REMEMBERED: Final = ROOT / ".pytest_cache" / "mutants.json"
"""By mutant, the test that has noticed it."""
WANTED_SHARE: Final = 0.85
TEST_LIMIT_S: Final = 60
"""A test that takes longer hangs, and fails."""
LIMIT_S: Final = 900
"""A run that takes longer hangs although its tests have a limit."""
COPIED: Final = ("*.py", "*.toml", ".env.example", "*.md", "*.lock", "*.txt", "Makefile", "LICENSE")
PRELOADED: Final = (
    *("pytest", "hypothesis", "pydantic_settings", "orjson", "jsonschema"),
    *("anthropic", "google.genai", "aiohttp", "httpx2", "openai", "fastapi", "uvicorn"),
    *("prometheus_client", "genai_prices", "rich.console", "prompt_toolkit"),
)
"""Libraries that every run starts with. Importing them takes longer than most tests."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: in `file` the text `old` becomes `new`; `tests` should notice."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return file, line and the change, on one line."""
        line = 1 + (ROOT / self.file).read_text("utf-8").partition(self.old)[0].count("\n")
        return f"{self.file}:{line}: {self.change}"

    @property
    def change(self) -> str:
        """Return the old and the new text, on one line."""
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{old!r} -> {new!r}"


def load(texts: Sequence[str] = ()) -> list[Mutant]:
    """Read the mutants of files with one of the texts in their path; without texts all of them."""
    found = []
    for path in sorted(MUTANTS.glob("*.toml")):
        for group in tomllib.loads(path.read_text("utf-8"))["file"]:
            found += [
                Mutant(
                    group["path"],
                    edit["old"],
                    edit["new"],
                    tuple(edit.get("tests", group["tests"])),
                )
                for edit in group["edit"]
            ]
    return [one for one in found if not texts or any(text in one.file for text in texts)]


def misfits(mutants: Sequence[Mutant]) -> list[str]:
    """Return what is wrong with mutants: a text that is not once in its file, a missing test."""
    wrong = []
    for one in mutants:
        path = ROOT / one.file
        count = path.read_text("utf-8").count(one.old) if path.exists() else 0
        if count != 1:
            wrong.append(f"{one.file}: {one.old!r} stands {count} times in it")
        wrong += [f"{one.file}: there is no {test}" for test in one.tests if not is_there(test)]
    return wrong


def is_there(test: str) -> bool:
    """Return whether a file of tests, or `file::test`, exists."""
    file, _, name = test.partition("::")
    return (ROOT / file).exists() and (not name or f"def {name}(" in (ROOT / file).read_text())


def copy_checkout(folder: Path) -> None:
    """Copy the files that the tests need."""
    for pattern in COPIED:
        for path in ROOT.glob(pattern):
            shutil.copy(path, folder)
    ignore = shutil.ignore_patterns("__pycache__", "*.png")
    for path in ROOT.iterdir():
        is_ours = path.is_dir() and not path.name.startswith(".")
        if is_ours and path.name not in ("build", "dist"):
            shutil.copytree(path, folder / path.name, ignore=ignore)


class FirstFailure:
    """A pytest plugin: runs the test `before` first, and keeps the name of one that fails."""

    def __init__(self, before: str) -> None:
        self.name = ""
        self._before = before

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items.sort(key=lambda item: item.nodeid != self._before)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.name = report.nodeid


def run_tests(folder: str, tests: Sequence[str], before: str, result: Connection) -> None:
    """Run tests in a copy, in this new process; send whether all passed, and one that failed."""
    os.setsid()
    os.chdir(folder)
    sys.path[:] = [folder, *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tools"]:
        del sys.modules[name]
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    first = FirstFailure(before)
    # The preloaded libraries bring plugins, whose asserts pytest can no longer rewrite.
    options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_LIMIT_S}"]
    options += ["-W", "ignore::pytest.PytestWarning"]
    status = pytest.main([*options, *tests], plugins=[first])
    result.send((status == pytest.ExitCode.OK, first.name))


@dataclass
class Copy:
    """A copy of the checkout that one worker changes."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)
    passing: set[str] = field(default_factory=set)
    """Tests that are known to pass without a fault."""

    def noticed_by(self, mutant: Mutant, before: str) -> str | None:
        """Return the test that fails with the fault only, or None; `before` runs first.

        The name is empty if the tests hung or could not be run with the fault.
        """
        with self._fault(mutant):
            passed, test = self._run(mutant.tests, before)
        if passed:
            return None
        if test not in self.passing:
            if not self._run([test] if test else mutant.tests, "")[0]:
                print(f"without a fault too: {test or ', '.join(mutant.tests)} fails", flush=True)
                return None
            self.passing |= {test} - {""}
        return test

    @contextlib.contextmanager
    def _fault(self, mutant: Mutant) -> Iterator[None]:
        path = self.folder / mutant.file
        before = path.read_text("utf-8")
        self._write(path, before.replace(mutant.old, mutant.new))
        try:
            yield
        finally:
            self._write(path, before)

    def _write(self, path: Path, text: str) -> None:
        """Write with a new time, which Python goes by to compile the file again."""
        path.write_text(text, "utf-8")
        time_s = next(self.numbers)
        os.utime(path, (time_s, time_s))

    def _run(self, tests: Sequence[str], before: str) -> tuple[bool, str]:
        """Run tests in a new process; return whether all passed, and the name of one that failed.

        The name is empty if a test hung or none could be run.
        """
        context = multiprocessing.get_context("forkserver")
        receiving, sending = context.Pipe(duplex=False)
        process = context.Process(target=run_tests, args=(str(self.folder), tests, before, sending))
        process.start()
        sending.close()
        try:
            if not receiving.poll(LIMIT_S):
                return False, ""
            answer: tuple[bool, str] = receiving.recv()
            return answer
        except EOFError:
            return False, ""
        finally:
            assert process.pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.join()


def survivors(mutants: Sequence[Mutant], workers: int, remembered: dict[str, str]) -> list[Mutant]:
    """Run all mutants; print and return those that no test noticed.

    `remembered` has, by file and change, the test that notices a mutant; it is kept up to date.
    """
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for one in mutants:
        waiting.put(one)
    found: list[Mutant] = []
    done = itertools.count(1)
    lock = threading.Lock()

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy_checkout(Path(folder))
            copy = Copy(Path(folder))
            while True:
                try:
                    mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                key = f"{mutant.file}: {mutant.change}"
                test = copy.noticed_by(mutant, remembered.get(key, ""))
                with lock:
                    if test is None:
                        found.append(mutant)
                    elif test:
                        remembered[key] = test
                    said = "SURVIVED" if test is None else "noticed "
                    print(f"{next(done):4} of {len(mutants)}  {said}  {mutant.name}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("texts", nargs="*", help="parts of paths, for example router/privacy")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--check", action="store_true", help="run nothing")
    options = parser.parse_args()
    mutants = load(options.texts)
    wrong = misfits(mutants)
    print(*wrong, sep="\n", end="\n" if wrong else "")
    if wrong or options.check or not mutants:
        print(f"{len(mutants)} mutants, {len(wrong)} of them do not fit")
        return 1 if wrong or not mutants else 0
    multiprocessing.get_context("forkserver").set_forkserver_preload([*PRELOADED])
    remembered = json.loads(REMEMBERED.read_text("utf-8")) if REMEMBERED.exists() else {}
    alive = survivors(mutants, options.workers, remembered)
    REMEMBERED.parent.mkdir(exist_ok=True)
    REMEMBERED.write_text(json.dumps(remembered, indent=1), "utf-8")
    noticed = len(mutants) - len(alive)
    print(f"\n{noticed} of {len(mutants)} noticed ({noticed / len(mutants):.0%}). Survivors:")
    print(*(one.name for one in alive), sep="\n")
    return 0 if noticed >= WANTED_SHARE * len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
