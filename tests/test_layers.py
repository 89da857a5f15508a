"""Which package may import which: down only, and a few libraries in one place only."""

import ast
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

LAYERS = (
    ("server", "chat.py", "tune", "llm_router", "test_router", "bench", "tools"),
    ("web", "chat", "router.tuning"),
    ("router.build", "router.parts"),
    ("router.telemetry",),
    ("router.router", "router.call"),
    ("router.sides", "router.embedded", "router.compatible", "router.local_client",
     "router.cloud_client", "router.decision", "router.deciding"),
    ("router.answers", "router.local", "router.clouds", "router.classifier", "router.state"),
    ("router.wire", "router.scoring", "router.backend", "router.http"),
    ("router.request", "router.events", "router.errors", "router.deadlines", "router.privacy",
     "config", "settings_fields", "addresses", "env_file", "local_servers", "launch"),
)  # fmt: skip
"""From the top. A package may import what stands below it."""

WITHIN_A_LAYER = {
    ("router.build", "router.parts"),
    ("router.router", "router.call"),
    ("router.embedded", "router.local_client"),
    ("router.compatible", "router.local_client"),
    ("router.sides", "router.local_client"),
    ("router.cloud_client", "router.compatible"),
    ("router.sides", "router.deciding"),
    ("router.decision", "router.deciding"),
    ("router.clouds", "router.state"),
    ("router.request", "router.errors"),
    ("config", "env_file"),
    ("config", "local_servers"),
    ("config", "settings_fields"),
    ("config", "addresses"),
    ("settings_fields", "local_servers"),
    ("local_servers", "addresses"),
    ("settings_fields", "addresses"),
}
"""Imports between neighbours, one way only."""

ONLY_IN = {
    "fastapi": {"web"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "rich": {"chat", "router.tuning"},
    "prompt_toolkit": {"chat"},
    "anthropic": {"router.clouds", "router.wire"},
    "google": {"router.clouds", "router.wire"},
    "aiohttp": {"router.clouds"},
    "openai": {"test_router"},
    "xllamacpp": {"router.embedded"},
    "prometheus_client": {"router.telemetry"},
    "psycopg": {"router.telemetry"},
    "genai_prices": {"router.telemetry"},
    "opentelemetry": {"router.telemetry"},
    "requests": {"router.telemetry"},
}
"""Libraries, and the packages that may import them. Tests and benchmarks may import all."""

SHARED_WORDS = {"request", "events", "errors", "backend", "deadlines"}
STEPS = {"classifier", "decision", "router", "call", "local_client", "cloud_client", "build"}

FREE = {"tests", "bench", "tools"}
OURS = {name.partition(".")[0] for layer in LAYERS for name in layer} | {"tests"}


def sources() -> list[Path]:
    folders = ("router", "web", "chat", "llm_router", "bench", "tools")
    below = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted([*ROOT.glob("*.py"), *below])


def package_of(module: str) -> str:
    """Return the unit that a module belongs to: `router.wire` for `router.wire.chat.relay`."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "router" else parts[0]


def package_of_file(path: Path) -> str:
    relative = path.relative_to(ROOT)
    if str(relative) == "chat.py":  # the launcher; the package has its name
        return "chat.py"
    return package_of(".".join(relative.with_suffix("").parts).removesuffix(".__init__"))


@cache
def imported(path: Path) -> frozenset[str]:
    """Return the modules that a file imports, at its top and inside."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "router":
            found |= {f"router.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return frozenset(found)


def edges() -> set[tuple[str, str]]:
    """Return every import of one of our packages by another."""
    found = set()
    for path in sources():
        here = package_of_file(path)
        for module in imported(path):
            there = package_of(module)
            if there != here and there.partition(".")[0] in OURS:
                found.add((here, there))
    return found


def rank(package: str) -> int:
    """Return the number of a package's layer, counted from the top."""
    above = [*takewhile(lambda layer: package not in layer, LAYERS)]
    return len(above)


def test_every_package_has_a_layer() -> None:
    packages = {package_of_file(path) for path in sources()} - {"router"}
    assert {package for package in packages if rank(package) == len(LAYERS)} == set()


def test_router_has_few_files_of_its_own() -> None:
    files = {path.stem for path in (ROOT / "router").glob("*.py")} - {"__init__"}
    assert files == SHARED_WORDS | STEPS


def test_imports_point_down() -> None:
    wrong = {
        f"{here} imports {there}"
        for here, there in edges()
        if rank(here) >= rank(there) and (here, there) not in WITHIN_A_LAYER and here not in FREE
    }
    assert wrong == set()


def test_nothing_imports_the_tests_but_tests_and_the_script() -> None:
    assert {here for here, there in edges() if there == "tests"} <= {"test_router", *FREE}


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_in_its_place_only(library: str) -> None:
    users = {
        package_of_file(path)
        for path in sources()
        if any(module.partition(".")[0] == library for module in imported(path))
    }
    assert users - FREE <= ONLY_IN[library]


def test_the_table_of_neighbours_names_nothing_that_is_not_imported() -> None:
    assert edges() >= WITHIN_A_LAYER
