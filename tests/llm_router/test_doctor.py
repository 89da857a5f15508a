"""`llm-router doctor`: what it finds, what it says to do, and its exit status."""

import json
import socket
from pathlib import Path

import orjson
import pytest

import env_file
from config import VERSION, Settings
from llm_router import doctor
from llm_router.doctor import Finding, examine
from router.sides import nearby
from router.telemetry.journal_file import JournalFile
from tests.support.paths import RECORDINGS
from tests.support.scripted import Connection, Request, Script, scripted

KEY = "sk-ant-api03-" + "Ab3dE5gH7jK9" * 8


def playing(name: str, context_tokens: int | None = None) -> Script:
    """Return a server that gives recorded answers; LM Studio has `context_tokens` loaded."""
    answers = json.loads((RECORDINGS / "local" / f"{name}.json").read_text())["answers"]
    if context_tokens is not None:
        loaded = answers["GET /api/v1/models"]["body"]["models"][0]["loaded_instances"][0]
        loaded["config"]["context_length"] = context_tokens

    async def script(connection: Connection, request: Request) -> None:
        asked = f"{request.method} {request.path}"
        if request.path == "/api/show":
            asked += f" {request.json['model']}"
        answer = answers.get(asked)
        if answer is None:
            await connection.answer(b"{}", 404)
        else:
            body = answer.get("text", "").encode() or orjson.dumps(answer.get("body"))
            await connection.answer(body, answer["status"])

    return script


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with nothing set and nothing at the usual ports."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    for name, value in {
        "local_base_url": "http://127.0.0.1:9/v1",
        "embedded_model": "off",
        "journal_path": str(tmp_path / "journal.db"),
        "server_port": str(free),
    }.items():
        monkeypatch.setenv(name.upper(), value)
    for places in ("places", "own_places"):
        monkeypatch.setattr(env_file, places, lambda: (tmp_path / ".env",))
    monkeypatch.setattr(nearby, "USUAL_PORTS", {})


async def found() -> dict[str, Finding]:
    """Return the findings by name; of several the last."""
    return {finding.name: finding for finding in await examine()}


async def test_a_machine_without_a_model_server_is_told_how_to_start_one() -> None:
    findings = await found()
    assert findings["local"].level == "WRONG"
    assert findings["local"].fix.startswith("lms server start --port 9 ")
    assert findings["cloud"].level == "note"
    assert "ANTHROPIC_API_KEY" in findings["cloud"].text
    assert {name for name, one in findings.items() if one.level == "WRONG"} == {"local"}
    assert VERSION in findings["versions"].text


async def test_offline_is_named_and_no_cloud_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("OFFLINE", "true")
    findings = await found()
    assert "nothing leaves this machine" in findings["offline"].text
    assert findings["cloud"].level == "note"
    assert "OFFLINE=true" in findings["cloud"].text


@pytest.mark.parametrize(
    ("context_tokens", "level", "fix"),
    [
        (4096, "note", "lms unload qwen2.5-32b-instruct && lms load qwen2.5-32b-instruct"),
        (32768, "ok", ""),
    ],
)
async def test_a_local_model_is_described_and_agents_are_told_whether_they_fit(
    monkeypatch: pytest.MonkeyPatch, context_tokens: int, level: str, fix: str
) -> None:
    plays = playing("lmstudio", context_tokens)
    async with scripted(plays, plays) as server:
        monkeypatch.setenv("LOCAL_BASE_URL", f"{server.url}/v1")
        findings = await found()
    assert findings["local"].level == "ok"
    said = f"LM Studio at {server.url}/v1: qwen2.5-32b-instruct, context {context_tokens} tokens"
    assert findings["local"].text == f"{said}, tools, no pictures"
    assert findings["agents"].level == level
    assert findings["agents"].fix.startswith(fix)
    if fix:
        assert findings["agents"].fix.endswith("--context-length 32768")


@pytest.mark.parametrize(
    ("recording", "name"),
    [("lmstudio", "LM Studio"), ("ollama", "Ollama"), ("llamacpp", "llama.cpp"), ("vllm", "vLLM")],
)
async def test_a_server_at_its_usual_port_is_found_and_offered(
    monkeypatch: pytest.MonkeyPatch, recording: str, name: str
) -> None:
    async with scripted(playing(recording), playing(recording)) as server:
        monkeypatch.setattr(nearby, "USUAL_PORTS", {"any": server.port})
        findings = await found()
    assert findings["found"].text.startswith(f"{name} at {server.url}/v1: ")
    assert "context" in findings["found"].text
    assert "not loaded" not in findings["found"].text
    assert findings["local"].fix == f"set LOCAL_BASE_URL=http://localhost:{server.port}/v1"


async def test_a_router_at_a_usual_port_is_no_model_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ours(connection: Connection, request: Request) -> None:
        rows = [{"id": name, "owned_by": "llm-router"} for name in ("auto", "local", "cloud", "m")]
        await connection.answer(orjson.dumps({"data": rows}))

    async with scripted(ours, ours) as server:
        monkeypatch.setattr(nearby, "USUAL_PORTS", {"any": server.port})
        assert "found" not in await found()


async def test_the_file_that_was_read_is_named_with_what_it_sets(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("COMPLEXITY_THRESHOLD=60\nDATABASE_URL=x\n")
    env.chmod(0o600)
    assert (await found())["settings"].text == f"{env} sets COMPLEXITY_THRESHOLD"


async def test_a_file_that_sets_nothing_is_named_with_its_odd_lines(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("COMPLEXITY_THRESHOLD: 60\n")
    env.chmod(0o600)
    findings = await found()
    assert findings["settings"].text == f"{env} sets nothing"
    assert findings[".env"].text == f"{env}, line 1: not NAME=value, so it is left out."


async def test_a_file_that_others_can_read_is_wrong_and_has_a_command(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("COMPLEXITY_THRESHOLD=60\n")
    env.chmod(0o644)
    finding = (await found())[".env"]
    assert (finding.level, finding.fix) == ("WRONG", f"chmod 600 {env}")


async def test_every_wrong_setting_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_PORT", "many")
    monkeypatch.setenv("COLD_LOCAL", "never")
    wrong = [one for one in await examine() if one.level == "WRONG"]
    assert [one.text.partition(" ")[0] for one in wrong] == ["COLD_LOCAL", "SERVER_PORT"]


async def test_a_port_in_use_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("SERVER_PORT", str(port))
        monkeypatch.setattr(doctor, "HEALTH_S", 0.1)
        finding = (await found())["port"]
    assert (finding.level, finding.fix) == ("WRONG", f"set SERVER_PORT={port + 10}")


async def test_a_port_that_our_own_server_has_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    async def health(connection: Connection, request: Request) -> None:
        await connection.answer(b'{"status": "ok", "local": {}, "cloud": {}, "notice": null}')

    async with scripted(health, health) as server:
        monkeypatch.setenv("SERVER_PORT", str(server.port))
        finding = (await found())["port"]
    assert finding == Finding("port", "ok", f"an llm-router answers at 127.0.0.1:{server.port}")


async def test_the_journal_is_counted_and_an_unreadable_one_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    assert (await found())["journal"] == Finding("journal", "ok", f"{path} will be created")
    file = JournalFile(path)
    file.write([])
    file.close()
    assert (await found())["journal"] == Finding("journal", "ok", f"{path}, 0 requests")
    path.write_bytes(b"no database" * 100)
    finding = (await found())["journal"]
    assert finding.level == "WRONG"
    assert "JOURNAL_PATH" in finding.fix


async def test_a_journal_in_a_folder_that_may_not_be_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "closed" / "journal.db"
    monkeypatch.setenv("JOURNAL_PATH", str(path))
    exists = Path.exists

    def refused(asked: Path) -> bool:  # for root no folder is closed
        if asked == path:
            raise PermissionError(13, "Permission denied", str(path))
        return exists(asked)

    monkeypatch.setattr(Path, "exists", refused)
    finding = (await found())["journal"]
    assert finding.level == "WRONG"
    assert finding.text.startswith(f"{path} cannot be used")
    assert "Permission denied" in finding.text
    assert "JOURNAL_PATH" in finding.fix


async def test_the_database_of_the_journal_is_examined_without_its_password(
    monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setenv("JOURNAL_URL", database)
    findings = await found()
    assert findings["journal"].level == "ok"
    assert findings["journal"].text.endswith("its tables will be created")
    monkeypatch.setenv("JOURNAL_URL", database.replace("s3cr3t", "wr0ng"))
    refused = (await found())["journal"]
    assert refused.level == "WRONG"
    assert "JOURNAL_URL" in refused.fix
    shown = f"{findings} {refused}"
    assert "s3cr3t" not in shown
    assert "wr0ng" not in shown


async def test_a_model_file_that_is_missing_is_wrong_only_where_it_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMBEDDED_MODEL", str(tmp_path / "none.gguf"))
    finding = (await found())["built-in"]
    assert finding.level == "WRONG"
    assert "none.gguf" in finding.text + finding.fix


async def test_each_of_several_local_servers_has_its_own_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = playing("lmstudio", 8192)
    async with scripted(recorded, recorded) as studio:
        listed = f"studio={studio.url}/v1,gpu=http://127.0.0.1:1/v1"
        monkeypatch.setenv("LOCAL_SERVERS", listed)
        findings = await found()
    assert findings["studio"].level != "WRONG"
    assert findings["gpu"].level == "WRONG"
    assert "local" not in findings


@pytest.mark.parametrize(
    ("status", "level", "says"), [(200, "ok", "claude-sonnet-4-6"), (401, "WRONG", "key")]
)
async def test_the_cloud_is_asked_with_the_key_which_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, status: int, level: str, says: str
) -> None:
    async def claude(connection: Connection, request: Request) -> None:
        if status != 200:
            error = {"type": "authentication_error", "message": f"invalid x-api-key {KEY}"}
            await connection.answer(orjson.dumps({"type": "error", "error": error}), status)
            return
        model = {"type": "model", "id": "claude-sonnet-4-6", "display_name": "Claude",
                 "created_at": "2026-01-01T00:00:00Z"}  # fmt: skip
        page = {"data": [model], "has_more": False, "first_id": "a", "last_id": "a"}
        await connection.answer(orjson.dumps(page))

    async with scripted(claude, claude) as server:
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        findings = await examine()
    cloud = next(one for one in findings if one.name == "cloud")
    assert cloud.level == level
    assert says in cloud.text
    assert not any(KEY in one.text + one.fix for one in findings)
    keys = next(one for one in findings if one.name == "keys")
    assert "ANTHROPIC_API_KEY is set" in keys.text


def test_the_screen_is_no_wider_than_the_terminal_and_the_status_is_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("JOURNAL_PATH", "off")
    monkeypatch.setattr(env_file, "places", lambda: (Path(".env"),))
    assert doctor.main([]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("WRONG  local ") for line in lines)
    assert any("-> lms server start" in line for line in lines)
    assert [line for line in lines if len(line) > 80 and "->" not in line] == []
