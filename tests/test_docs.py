"""README.md and docs/: every command runs, every link leads somewhere, nothing stands twice.

A block of commands that cannot run here has a comment before it: `<!-- not run: why -->`.
"""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from router import errors
from router.classifier import SIGNALS, score_messages
from router.deciding.facts import REASONS
from router.events import Event, Finish, TextDelta, Usage
from router.request import ChatRequest
from router.wire.chat import completions
from router.wire.failures import CONTEXT_LENGTH, NO_SUCH_MODEL
from tests.support.clients import joined, said
from tests.support.paths import ROOT
from tests.support.processes import Server, copy_programs, server
from tests.support.scripted import Connection, Request, scripted
from tools import settings_docs
from web.app import DIALECT_PATHS, ROUTES

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], key=lambda path: path.relative_to(ROOT)
)
README_LIMIT_BYTES = 8 * 1024
LONG_LINE = 80
"""A line of prose of so many characters stands in one place only."""
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.+?) -->\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PARSERS: dict[str, Any] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    text: str
    why_not_run: str | None


def blocks(page: Path) -> list[Block]:
    found = BLOCK.finditer(page.read_text("utf-8"))
    return [Block(one["kind"], one["text"], one["why"]) for one in found]


def runs(page: Path) -> bool:
    return any(one.kind in ("sh", "python") and not one.why_not_run for one in blocks(page))


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """Return the text without fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


async def answers(connection: Connection, request: Request) -> None:
    events: list[Event] = [TextDelta("Four."), Finish("stop", Usage(7, 2))]
    asked = ChatRequest(request.json)
    if asked.stream:
        await connection.stream(
            await joined(completions.stream(said(events), asked, "local-model", "id_1", 1))
        )
    else:
        answer = await completions.complete(said(events), asked, "local-model", "id_1", 1)
        await connection.answer(orjson.dumps(answer))


@pytest.mark.parametrize("page", [page for page in PAGES if runs(page)], ids=name_of)
async def test_every_command_runs(page: Path, tmp_path: Path) -> None:
    copy_programs(tmp_path)
    for path in [*ROOT.glob("*.lock"), ROOT / "LICENSE", ROOT / ".env.example", ROOT / "Makefile"]:
        shutil.copy(path, tmp_path)
    async with scripted(answers) as local:
        settings = {
            "local_base_url": f"{local.url}/v1",
            "local_model": "local-model",
            "embedded_model": "off",
            "anthropic_api_key": "sk-ant-none",  # the tuner needs the prices of a cloud
            "anthropic_base_url": "http://127.0.0.1:9",
        }
        starting = server(tmp_path, **settings)
        running = await asyncio.to_thread(starting.__enter__)
        try:
            await asyncio.to_thread(run_page, page, tmp_path, running, settings)
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)


def run_page(page: Path, folder: Path, running: Server, settings: dict[str, str]) -> None:
    running.client().chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Say hello."}]
    )
    env = os.environ | {name.upper(): value for name, value in settings.items()}
    env |= {
        "JOURNAL_PATH": str(running.log.with_suffix(".db")),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONPATH": str(folder),
    }
    for block in blocks(page):
        if block.kind in ("sh", "python") and not block.why_not_run:
            text = block.text.replace("http://localhost:8080", running.url)
            text = text.replace("localhost:8080", running.url)
            if block.kind == "python":
                command = [sys.executable, "-c", text]
            else:
                text = text.replace(".venv/bin/python", sys.executable)
                # What make would do is tried without doing it.
                text = re.sub(r"^make ", "make -n ", text, flags=re.MULTILINE)
                command = ["bash", "-euo", "pipefail", "-c", text]
            done = subprocess.run(
                command,
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
            assert '"error": {' not in done.stdout, f"{block.text}\n{done.stdout}"
            assert '{"error":{' not in done.stdout, f"{block.text}\n{done.stdout}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_configuration_file_can_be_read(page: Path) -> None:
    for block in blocks(page):
        if parse := PARSERS.get(block.kind):
            assert parse(block.text), block.text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_kind_that_is_tried_or_says_why_not(page: Path) -> None:
    kinds = {one.kind for one in blocks(page) if not one.why_not_run}
    assert kinds <= {"sh", "python", "mermaid", *PARSERS}


def anchors(page: Path) -> set[str]:
    """Return the anchors that a code host makes of the headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    pages = [name_of(page) for page in PAGES if page.parent.name == "docs"]
    assert [page for page in pages if f"({page})" not in readme] == []


def test_the_readme_shows_the_score_of_its_question() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    asked = re.search(r'"messages": (\[.*?\])', readme)
    shown = re.search(r"^x-router-score: (\d+)$", readme, re.MULTILINE)
    assert asked is not None
    assert shown is not None
    assert shown[1] == f"{score_messages(json.loads(asked[1])).total:.0f}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_LIMIT_BYTES


def test_no_line_stands_in_two_places() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for page in PAGES:
        for line in prose(page).splitlines():
            if len(line) >= LONG_LINE:
                places[line.strip()].append(name_of(page))
    assert {line: pages for line, pages in places.items() if len(pages) > 1} == {}


def test_settings_docs_are_written_from_config() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == settings_docs.settings_page(), (
        "run: make docs"
    )
    assert (ROOT / ".env.example").read_text("utf-8") == settings_docs.example_file(), (
        "run: make docs"
    )


def test_every_reason_in_its_order_and_every_signal_is_explained() -> None:
    routing = (ROOT / "docs" / "routing.md").read_text("utf-8")
    rows = "\n".join(line for line in routing.splitlines() if line.startswith("| `"))
    assert re.findall(r"`(\w+)`", _first_cells(rows)) == [*REASONS]
    scoring = (ROOT / "docs" / "scoring.md").read_text("utf-8")
    for signal in SIGNALS:
        assert f"| {signal.name.replace('_', ' ')} |" in scoring


def test_every_route_and_every_error_is_explained() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    routes = [path.partition("/{")[0] for _, path, _ in ROUTES] + [*DIALECT_PATHS, "/openapi.json"]
    assert [path for path in routes if f"{path}`" not in _ended(page)] == []
    sources = [path.read_text("utf-8") for top in ("router", "web") for path in _modules(top)]
    codes = {found for source in sources for found in re.findall(r'\bcode="(\w+)"', source)}
    classes = [one for one in vars(errors).values() if isinstance(one, type)]
    known = [one for one in classes if issubclass(one, errors.RouterError)]
    codes |= {one.code for one in known if one.code} | {CONTEXT_LENGTH, NO_SUCH_MODEL}
    statuses = {one.status for one in known}
    statuses |= {int(n) for source in sources for n in re.findall(r"[( ]status=(\d+)", source)}
    rows = page.partition("| status | code |")[2].partition("\n\n")[0]
    assert {code for code in codes if f"`{code}`" not in rows} == set()
    assert {status for status in statuses if f"\n| {status} |" not in rows} == set()


def _modules(top: str) -> list[Path]:
    return sorted((ROOT / top).rglob("*.py"))


def _ended(page: str) -> str:
    """Return a page with every path in it ended by a backtick, without parameters."""
    return re.sub(r"(`(?:[A-Z]+ )?/[\w./]*?)(?:/\{\S+|\?\S+)`", r"\1`", page)


def _first_cells(rows: str) -> str:
    return "\n".join(row.split("|")[1] for row in rows.splitlines())


def test_a_setting_that_pages_name_exists() -> None:
    known = {one.name for one in settings_docs.settings()}
    known |= {"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"}
    known |= {"NO_COLOR", "ENABLE_TOOL_SEARCH"}
    known |= {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_TRACES_SAMPLER", "OTEL_SERVICE_NAME"}
    known.add("LLM_ROUTER_API_KEY")  # Zed makes it of the provider's name
    for page in PAGES:
        named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=[^`]*)?`", prose(page)))
        unknown = named - known - {"BY_SCORE"}
        unknown -= {name for name in named if name.startswith("CLAUDE_CODE_")}
        assert unknown == set(), name_of(page)
