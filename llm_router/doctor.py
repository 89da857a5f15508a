"""`llm-router doctor`: shows on one screen what works, and how to mend what does not.

Exit status 1 if something is wrong. No key is ever shown, no model is asked.
"""

import argparse
import asyncio
import platform
import shutil
import socket
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal
from urllib.parse import urlsplit

import httpx2

import env_file
from addresses import is_this_machine
from chat.text import tolerate_any_text, visible
from config import VERSION, Settings, SettingsError, load_settings
from router.backend import Model
from router.build import assemble, journal_store
from router.cloud_client import ClaudeBackend, GeminiBackend, OpenAIBackend
from router.deciding.facts import Side
from router.embedded.server import CONTEXT_TOKENS, EmbeddedServer
from router.local.servers import fix_command
from router.parts.assembly import Assembly
from router.sides import nearby
from router.sides.nearby import Found
from router.state.shared import SharedStore
from router.telemetry.journal_store import StoreError

AGENT_TOKENS: Final = 32_768
"""Context that coding agents such as opencode, Codex and Claude Code need to work well."""
HEALTH_S: Final = 2.0
LEVEL_WIDTH: Final = len("WRONG")
NAME_WIDTH: Final = len("settings")
OLDEST_PYTHON: Final = (3, 11)
PACKAGES: Final = ("fastapi", "uvicorn", "anthropic", "google-genai", "pydantic", "rich")

Level = Literal["ok", "note", "WRONG"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the screen. `fix`: a command or a setting that mends it."""

    name: str
    level: Level
    text: str
    fix: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print all findings; returns the exit status."""
    argparse.ArgumentParser(
        prog="llm-router doctor",
        description="Check the installation, the settings and both sides.",
        epilog="Exit status 1 if something is wrong. No key is shown, no model is asked.",
    ).parse_args(arguments)
    tolerate_any_text()
    findings = asyncio.run(examine())
    width = shutil.get_terminal_size((120, 24)).columns
    for finding in findings:
        start = f"{finding.level:{LEVEL_WIDTH}}  {finding.name:{NAME_WIDTH}}  "
        print(
            textwrap.fill(
                visible(finding.text),
                width,
                initial_indent=start,
                subsequent_indent=" " * len(start),
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
        if finding.fix:
            # A command is not broken into lines, so that it can be copied.
            print(f"{'':{len(start)}}-> {visible(finding.fix)}")
    return 1 if any(finding.level == "WRONG" for finding in findings) else 0


async def examine() -> list[Finding]:
    """Run all checks; return what they found."""
    findings = [*_installation()]
    try:
        settings = load_settings()
        assembly = assemble(settings)
    except SettingsError as error:
        lines = str(error).splitlines()
        return [*findings, *(Finding("settings", "WRONG", line, "change it") for line in lines)]
    findings += _settings(settings)
    try:
        findings += await _sides(assembly)
        if assembly.store is not None:
            findings.append(await _store(assembly.store))
    finally:
        await assembly.aclose()
    findings += [_embedded(settings), _journal(settings), await _port(settings)]
    return findings


def _installation() -> Iterator[Finding]:
    is_old = sys.version_info < OLDEST_PYTHON
    yield Finding(
        "python",
        "WRONG" if is_old else "ok",
        f"{platform.python_version()} at {sys.executable}, {platform.system()}",
        "install Python 3.12" if is_old else "",
    )
    found = [f"{name} {known}" for name in PACKAGES if (known := _version(name))]
    yield Finding("versions", "ok", ", ".join([f"llm-router {VERSION}", *found]))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _settings(settings: Settings) -> Iterator[Finding]:
    file = settings.env_file
    if file is None:
        looked = ", ".join(map(str, env_file.places()))
        yield Finding("settings", "ok", f"no .env file was found (looked for {looked})")
    else:
        known = [name for name in file.values if name.lower() in type(settings).model_fields]
        if known:
            yield Finding("settings", "ok", f"{file.path} sets {', '.join(known)}")
        else:
            yield Finding("settings", "note", f"{file.path} sets nothing")
    for warning in settings.warnings:
        text, _, fix = warning.partition(" Run: ")
        yield Finding(".env", "WRONG" if fix else "note", text, fix)
    if settings.offline:
        yield Finding("offline", "ok", "OFFLINE=true: nothing leaves this machine")
    keys = [
        f"{name.upper()} is {'set' if name.upper() in settings.keys else 'not set'}"
        for name in type(settings).model_fields
        if name.endswith("_api_key")
    ]
    yield Finding("keys", "ok", ", ".join(keys))


async def _sides(assembly: Assembly) -> list[Finding]:
    router = assembly.router
    for seat in router.clouds:
        assert isinstance(seat.backend, ClaudeBackend | GeminiBackend | OpenAIBackend)
        await seat.backend.warm()
        await seat.watch.look()
    statuses = await asyncio.gather(*(seat.watch.look() for seat in router.locals))
    locals_ = [
        Side("local", seat.name, status)
        for seat, status in zip(router.locals, statuses, strict=True)
    ]
    urls = [seat.server.base_url for seat in router.locals if seat.server is not None]
    clouds = await router.cloud_sides() or [(await router.sides())[1]]
    known = {urlsplit(url).port for url, side in zip(urls, locals_, strict=True) if side.usable}
    servers = [
        server
        for server in await nearby.look(nearby.USUAL_PORTS)
        if urlsplit(server.url).port not in known
    ]
    findings: list[Finding] = []
    for side, url in zip(locals_, urls, strict=True):
        findings += _local(side, url, servers)
    return [*findings, *map(_cloud, clouds), *_servers(servers)]


def _local(side: Side, url: str, servers: list[Found]) -> Iterator[Finding]:
    name, status, model = side.backend, side.status, side.status.model
    if not side.usable or model is None:
        fix = _way_to_a_local_side(url, status.state, servers)
        yield Finding(name, "WRONG", side.why_not, fix)
        return
    kind = nearby.NAMES.get(status.server, "server")
    yield Finding(name, "ok", f"{kind} at {url}: {_described(model)}")
    if status.detail:
        yield Finding(name, "note", status.detail)
    if model.context_tokens is not None and model.context_tokens < AGENT_TOKENS:
        yield Finding(
            "agents",
            "note",
            f"opencode, Codex and Claude Code need {AGENT_TOKENS} tokens of context;"
            f" {model.id} has {model.context_tokens}",
            fix_command(status.server, model, AGENT_TOKENS),
        )
    elif model.context_tokens is not None:
        yield Finding("agents", "ok", "opencode, Codex and Claude Code fit into this context")


def _way_to_a_local_side(url: str, state: str, servers: list[Found]) -> str:
    if state != "down":
        return ""
    if servers:
        return f"set LOCAL_BASE_URL={servers[0].url.replace('127.0.0.1', 'localhost')}"
    if not is_this_machine(url):
        return "start the server there, or change LOCAL_BASE_URL"
    port = urlsplit(url).port or 80
    return f"lms server start --port {port}  (or: llama-server -m model.gguf --port {port})"


def _described(model: Model) -> str:
    """Return a model with its context and abilities, as far as the server says."""
    parts = [model.id]
    if model.context_tokens is not None:
        parts.append(f"context {model.context_tokens} tokens")
    elif model.loaded is False:
        parts.append("not loaded")
    for ability, has in (("tools", model.tools), ("pictures", model.vision)):
        if has is not None:
            parts.append(ability if has else f"no {ability}")
    return ", ".join(parts)


def _cloud(side: Side) -> Finding:
    if side.status.state == "unconfigured":
        return Finding("cloud", "note", side.status.detail)
    if not side.usable:
        return Finding("cloud", "WRONG", side.why_not)
    model = side.status.model
    detail = f". {side.status.detail}" if side.status.detail else ""
    return Finding("cloud", "ok", f"{side.backend}: {model.id if model else ''}{detail}")


def _servers(servers: list[Found]) -> Iterator[Finding]:
    for server in servers:
        loaded = "; ".join(map(_described, server.loaded)) or "nothing is loaded"
        yield Finding("found", "ok", f"{server.name} at {server.url}: {loaded}")


async def _store(store: SharedStore) -> Finding:
    await store.look()
    if store.up:
        return Finding("store", "ok", f"{store.address} answers: what routers share is kept there")
    return Finding("store", "WRONG", store.trouble, "start it, or change STATE_URL")


def _embedded(settings: Settings) -> Finding:
    if settings.embedded_model == "off":
        return Finding("built-in", "ok", "the built-in model is off")
    server = EmbeddedServer(settings.embedded_model)
    if not server.unavailable_reason:
        text = f"{server.model_id} answers when there is nothing else"
        text += f"; {CONTEXT_TOKENS} tokens of context are too few for coding agents"
        return Finding("built-in", "ok", text)
    wanted = settings.embedded_model != "auto"
    text, _, fix = server.unavailable_reason.partition(": ")
    return Finding("built-in", "WRONG" if wanted else "note", text, fix.rstrip("."))


def _journal(settings: Settings) -> Finding:
    store = journal_store(settings)
    try:
        return Finding("journal", "ok", store.check())
    except StoreError as error:
        return Finding("journal", "WRONG", f"{store.place} cannot be used ({error})", store.remedy)
    finally:
        store.close()


async def _port(settings: Settings) -> Finding:
    host, port = settings.server_host, settings.server_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        if await _answers_as_router(host, port):
            return Finding("port", "ok", f"an llm-router answers at {host}:{port}")
        fix = f"set SERVER_PORT={port + 10}"
        return Finding("port", "WRONG", f"{host}:{port} cannot be used ({error.strerror})", fix)
    return Finding("port", "ok", f"{host}:{port} is free; start the server: {_serve_command()}")


async def _answers_as_router(host: str, port: int) -> bool:
    shown = f"[{host}]" if ":" in host else host
    try:
        async with httpx2.AsyncClient(timeout=HEALTH_S, trust_env=False) as http:
            health = (await http.get(f"http://{shown}:{port}/health")).json()
    except (httpx2.HTTPError, ValueError):
        return False
    return isinstance(health, dict) and {"status", "local", "cloud"} <= health.keys()


def _serve_command() -> str:
    is_clone = (env_file.PROGRAM / "Makefile").exists()
    return "make serve" if is_clone else "llm-router serve"
