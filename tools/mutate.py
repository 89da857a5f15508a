"""Run the tests against small faults in the code, and list those that no test notices.

    python -m tools.mutate                          run all mutants
    python -m tools.mutate router/privacy chat/     run those of files with such a text in the path
    python -m tools.mutate --check                  only check that each mutant fits the code

A mutant is one edit: a text that stands once in a file, and its replacement. They are kept in
tests/mutants/*.toml. Each runs in a copy of the checkout, with the tests named there. Exit status 1
if fewer than the wanted share is noticed or a mutant does not fit.
"""

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
MUTANTS: Final = ROOT / "tests" / "mutants"
WANTED_SHARE: Final = 0.85
LIMIT_S: Final = 120
"""A run that takes longer hangs, which counts as noticed."""
COPIED: Final = ("*.py", "*.toml", ".env.example", "*.md", "*.lock", "*.txt", "Makefile", "LICENSE")


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
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}:{line}: {old!r} -> {new!r}"


def load(texts: Sequence[str] = ()) -> list[Mutant]:
    """Read the mutants of files with one of the texts in their path; without texts all of them."""
    found = []
    for path in sorted(MUTANTS.glob("*.toml")):
        for group in tomllib.loads(path.read_text("utf-8"))["file"]:
            tests = tuple(group["tests"])
            found += [
                Mutant(group["path"], edit["old"], edit["new"], tests) for edit in group["edit"]
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
        missing = [test for test in one.tests if not (ROOT / test.partition("::")[0]).exists()]
        wrong += [f"{one.file}: there is no {test}" for test in missing]
    return wrong


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


def is_noticed(mutant: Mutant, folder: Path) -> bool:
    """Run the tests with the fault in the copy; return whether one of them fails."""
    path = folder / mutant.file
    before = path.read_bytes()
    path.write_text(before.decode().replace(mutant.old, mutant.new), "utf-8")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *mutant.tests],
            cwd=folder,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return True
    finally:
        path.write_bytes(before)
    return done.returncode != 0


def survivors(mutants: Sequence[Mutant], workers: int) -> list[Mutant]:
    """Run all mutants; print and return those that no test noticed."""
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for one in mutants:
        waiting.put(one)
    found: list[Mutant] = []
    done = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal done
        with tempfile.TemporaryDirectory() as folder:
            copy_checkout(Path(folder))
            while True:
                try:
                    mutant = waiting.get_nowait()
                except queue.Empty:
                    return
                noticed = is_noticed(mutant, Path(folder))
                with lock:
                    done += 1
                    if not noticed:
                        found.append(mutant)
                    said = "noticed " if noticed else "SURVIVED"
                    print(f"{done:4} of {len(mutants)}  {said}  {mutant.name}", flush=True)

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
    alive = survivors(mutants, options.workers)
    noticed = len(mutants) - len(alive)
    print(f"\n{noticed} of {len(mutants)} noticed ({noticed / len(mutants):.0%}). Survivors:")
    print(*(one.name for one in alive), sep="\n")
    return 0 if noticed >= WANTED_SHARE * len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
