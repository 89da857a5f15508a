"""pyproject.toml names what the code imports, no more and no less; files and locks follow it."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools import requirements

ROOT = Path(__file__).parent.parent
RUN_TIME = (
    *("config.py", "settings_fields.py", "addresses.py", "env_file.py"),
    *("router/**/*.py", "web/**/*.py", "chat/**/*.py", "llm_router/**/*.py"),
)
SCRIPT = ("test_router.py", "tests/support/live.py", "tests/support/two_sides.py")
TESTS = ("tests/**/*.py", "bench/**/*.py")
TOOLS = ("tools/**/*.py",)
OURS = {"router", "web", "chat", "llm_router", "tests", "tools", "bench"}
# Installed by itself, without its dependencies.
EMBEDDED = {"xllamacpp"}
# Used without an import statement: uvicorn takes the first two where it finds them, and
# web/content_encoding.py imports the third by a name that depends on the version of Python.
NOT_IMPORTED = {"uvloop", "httptools", "backports-zstd"}
COMMANDS = {
    *("ruff", "mypy", "types-jsonschema", "types-pyyaml", "uv", "hatchling"),
    *("pytest-asyncio", "pytest-cov", "pytest-timeout", "pytest-xdist"),
}
# Another package's own face, and what several distributions share.
PART_OF = {
    "anyio": "fastapi",
    "pydantic_core": "pydantic",
    "google": "google-genai",
    "opentelemetry": "opentelemetry-sdk",
    "requests": "opentelemetry-exporter-otlp-proto-http",
    "referencing": "jsonschema",
    "starlette": "fastapi",
    "typing_extensions": "pydantic",
    "yarl": "aiohttp",
}


def listed(*groups: str) -> dict[str, Requirement]:
    """Return the requirements of dependency groups and extras.

    "run" is what every installation needs.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    known = {"run": project["project"]["dependencies"], **project["dependency-groups"], **extras}
    found = (Requirement(line) for group in groups for line in known[group])
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def locked(name: str) -> dict[str, list[str]]:
    """Versions by package; several where the system or Python decides."""
    versions: dict[str, list[str]] = {}
    for package, version in re.findall(
        r"^([\w.-]+)(?:\[.*?\])?==(\S+)", (ROOT / name).read_text(), re.M
    ):
        versions.setdefault(canonicalize_name(package), []).append(version)
    return versions


@cache
def imported(patterns: tuple[str, ...]) -> set[str]:
    """Distributions that the modules import, at the top or anywhere inside."""
    providers = packages_distributions()
    tops = set()
    for path in chain.from_iterable(ROOT.glob(pattern) for pattern in patterns):
        tops |= set(_imports(ast.parse(path.read_text("utf-8"))))
    foreign = tops - sys.stdlib_module_names - OURS - EMBEDDED - {p.stem for p in ROOT.glob("*.py")}
    names = (PART_OF.get(top) or providers.get(top, [top])[0] for top in foreign)
    return {canonicalize_name(name) for name in names}


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        yield from (name.partition(".")[0] for name in names)


def test_the_dependencies_are_what_the_program_imports() -> None:
    assert imported(RUN_TIME) | NOT_IMPORTED == set(listed("run", "otel", "postgres", "state"))


def test_the_check_group_has_the_packages_that_the_script_needs() -> None:
    assert imported(SCRIPT) - set(listed("run")) == set(listed("check"))


def test_the_development_group_has_the_further_imports_of_tests_and_tools() -> None:
    besides = set(listed("dev"))
    assert imported(TESTS) - set(listed("run", "check", "state")) <= besides
    assert besides <= imported(TESTS) | imported(TOOLS) | COMMANDS | set(listed("otel", "state"))


def test_the_tests_have_the_extras_too() -> None:
    assert set(listed("otel", "postgres", "state")) <= set(listed("dev"))


@pytest.mark.parametrize("path", requirements.files())
def test_the_requirements_files_are_written_from_pyproject(path: str) -> None:
    written = (ROOT / path).read_text("utf-8")
    assert written == requirements.files()[path], "run: make lock"


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("requirements", ("run", "check")),
        ("requirements-dev", ("run", "check", "dev")),
        ("requirements-state", ("state",)),
        ("requirements-embedded", ("embedded",)),
        ("requirements-postgres", ("postgres",)),
    ],
)
def test_the_lock_satisfies_the_ranges(name: str, groups: tuple[str, ...]) -> None:
    versions = locked(f"{name}.lock")
    for package, requirement in listed(*groups).items():
        assert package in versions, f"{package} is not in {name}.lock: make lock"
        for version in versions[package]:
            assert requirement.specifier.contains(version), f"{package} {version}: make lock"


@pytest.mark.parametrize("name", ["requirements", "requirements-postgres", "requirements-state"])
def test_the_locks_agree_with_that_of_development(name: str) -> None:
    assert locked(f"{name}.lock").items() <= locked("requirements-dev.lock").items()


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.lock")), ids=lambda path: path.name)
def test_a_lock_has_a_hash_for_every_package_and_names_no_place(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    for entry in re.split(r"^(?=\S+==)", text, flags=re.M)[1:]:
        assert "--hash=sha256:" in entry
