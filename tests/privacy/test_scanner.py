import asyncio
import base64
import json
import logging
import os
import random
import string
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import orjson
import pytest
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

from router.privacy.key_shapes import SHAPES
from router.privacy.named_values import AWS_SECRET, NAMED, PRIVATE_KEY
from router.privacy.scanner import (
    LARGE_BYTES,
    LOOK_AGAIN_S,
    MOST_FINDINGS,
    Finding,
    PrivacyScanner,
)
from router.request import ChatRequest, outgoing
from tests.support.keys import ALNUM, CANARIES, URL_SAFE, made_up
from tests.support.running_app import running_app
from tests.support.texts import many_kinds_of_text

TOKEN = "svc-" + made_up(URL_SAFE, 40, "own")
PASSPHRASE = "correct horse, battery & staple"
AWKWARD = 'quote" back\\slash /é and a space'


def asking(text: str) -> bytes:
    return orjson.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]})


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.write_text(
        f"export SERVICE_TOKEN={TOKEN}\n"
        f'DB_PASSWORD="{PASSPHRASE}"  # the database\n'
        f"ODD_SECRET='{AWKWARD}'\n"
        "SHORT_KEY=abc123\n"
        "SERVER_HOST=a-host-name-of-some-length-17.example\n"
        "FILLED_IN_KEY=xxxxxxxxxxxxxxxxxxxxxxxx\n"
        "TO_FILL_IN_KEY=your-api-key-goes-here\n"
        "POINTS_TO_KEY=${SERVICE_TOKEN_OF_ANOTHER_NAME}\n"
        f"SSL_KEY={tmp_path}\n",
        encoding="utf-8",
    )
    return path


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"SERVICE_TOKEN={TOKEN}",
        f"first line\n{TOKEN}\nlast line",
        f"tab\t{TOKEN}",
        f"https://user:{TOKEN}@host/path",
        f"prefix-{TOKEN}-suffix",
        f"glued{TOKEN}together",
        f"windows\\n{TOKEN}",
    ],
)
def test_an_own_secret_is_found_wherever_it_stands(env: Path, text: str) -> None:
    assert PrivacyScanner([env]).scan(asking(text)) == "value of SERVICE_TOKEN in .env"


def test_an_own_secret_of_hexadecimal_digits_is_found_in_a_list_of_digests(tmp_path: Path) -> None:
    secrets = [made_up("0123456789abcdef", 64, str(number)) for number in range(20)]
    for line in ("{}  a.tar.gz", "    --hash=sha256:{} \\"):
        text = "\n".join(map(line.format, secrets))
        file = tmp_path / ".env"
        file.write_text(f"ACME_KEY={secrets[9]}\n")
        scanner = PrivacyScanner([file])
        assert scanner.scan(asking(text)) is not None, line
        assert scanner.scan(asking(text.replace(secrets[9], secrets[8]))) is None, line


async def test_the_routers_own_keys_are_found_even_if_no_file_has_them() -> None:
    async with running_app(router_api_key=TOKEN) as h:
        headers = {"authorization": f"Bearer {TOKEN}", "x-force-route": "cloud"}
        refused = await h.ask(f"Why is {TOKEN} refused?", headers=headers)
        assert refused.status_code == 409
        answered = await h.ask("Why is it refused?", headers=headers)
        assert answered.status_code == 200


@pytest.mark.parametrize(("secret", "name"), [(PASSPHRASE, "DB_PASSWORD"), (AWKWARD, "ODD_SECRET")])
@pytest.mark.parametrize(
    "dumps",
    [orjson.dumps, lambda b: json.dumps(b).encode(), lambda b: json.dumps(b, indent=1).encode()],
    ids=["orjson", "ascii", "indented"],
)
def test_an_own_secret_is_found_however_its_json_is_written(
    env: Path, secret: str, name: str, dumps: Callable[[Any], bytes]
) -> None:
    scanner = PrivacyScanner([env])
    arguments = orjson.dumps({"content": f"it is\n{secret}"}).decode()
    call = {"id": "1", "type": "function", "function": {"name": "write", "arguments": arguments}}
    for message in (
        {"role": "tool", "content": f"the value is {secret}!"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ):
        assert scanner.scan(dumps({"messages": [message]})) == f"value of {name} in .env"


def test_an_own_secret_is_found_in_an_address_and_in_ascii_json(env: Path) -> None:
    scanner = PrivacyScanner([env])
    for written in (quote(AWKWARD, safe=""), quote_plus(AWKWARD), json.dumps({"k": AWKWARD})):
        assert scanner.scan(asking(f"x={written}&y")) == "value of ODD_SECRET in .env"
        nested = json.dumps({"arguments": json.dumps({"command": f"echo {written}"})})
        assert scanner.scan(asking(nested)) == "value of ODD_SECRET in .env"


def test_escaped_slashes_and_letters_hide_nothing() -> None:
    key = CANARIES["AWS id"]
    escaped = "".join(f"\\u{ord(c):04x}" for c in key)
    assert PrivacyScanner().scan(b'{"content":"%s"}' % escaped.encode()) == "AWS access key id"
    secret = CANARIES["AWS secret"].replace("/", "\\/")
    assert PrivacyScanner().scan(b'{"content":"%s"}' % secret.encode()) == "AWS secret access key"


def test_one_line_of_an_own_secret_of_many_lines_is_enough(tmp_path: Path) -> None:
    lines = [made_up(ALNUM + "+/", 64, f"line {number}") for number in range(4)]
    head, end = "-----BEGIN OF A KEY OF OUR OWN-----", "-----END OF A KEY OF OUR OWN-----"
    env = tmp_path / ".env"
    env.write_text('SIGNING_KEY="' + "\n".join([head, *lines, end]) + '"\n', encoding="utf-8")
    scanner = PrivacyScanner([env])
    for text in (lines[2], "\r\n  ".join(lines), json.dumps("\n".join(lines[1:3]))):
        assert scanner.scan(asking(text)) == "value of SIGNING_KEY in .env"
    for text in (head, end, lines[2][:-1]):
        assert scanner.scan(asking(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "abc123",
        "a-host-name-of-some-length-17.example",
        "xxxxxxxxxxxxxxxxxxxxxxxx",
        "your-api-key-goes-here",
        "${SERVICE_TOKEN_OF_ANOTHER_NAME}",
        TOKEN[:-1],
        TOKEN.swapcase(),
        PASSPHRASE.replace("horse", "house"),
    ],
)
def test_part_of_a_secret_and_other_text_are_let_through(env: Path, text: str) -> None:
    assert PrivacyScanner([env]).scan(asking(f"about {text} and more")) is None


def test_the_name_of_a_file_is_no_secret(env: Path) -> None:
    assert PrivacyScanner([env]).scan(asking(f"look into {env.parent}")) is None


def test_a_changed_file_is_read_again_after_a_while(env: Path) -> None:
    now = 0.0
    scanner = PrivacyScanner([env], clock=lambda: now)
    fresh = "new-" + made_up(URL_SAFE, 40, "fresh")
    assert scanner.scan(asking(fresh)) is None
    env.write_text(f"FRESH_TOKEN={fresh}\n")
    assert scanner.scan(asking(fresh)) is None
    now += LOOK_AGAIN_S
    assert scanner.scan(asking(fresh)) == "value of FRESH_TOKEN in .env"
    assert scanner.scan(asking(TOKEN)) is None


def test_secrets_of_a_file_that_vanishes_stay_secret(env: Path) -> None:
    now = 0.0
    scanner = PrivacyScanner([env], clock=lambda: now)
    assert scanner.scan(asking(TOKEN))
    env.unlink()
    now += LOOK_AGAIN_S
    assert scanner.scan(asking(TOKEN))


def test_a_missing_env_file_is_nothing_to_speak_of_but_another_file_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    scanner = PrivacyScanner([tmp_path / ".env", tmp_path / "work.env"], clock=lambda: now)
    for _ in range(3):
        scanner.scan(asking("hello"))
        now += LOOK_AGAIN_S
    assert [record.getMessage() for record in caplog.records] == [
        f"No secrets of {tmp_path / 'work.env'} are looked for: there is no such file."
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary\x00", None])
def test_a_file_that_cannot_be_read_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    path = tmp_path / "odd.env"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    scanner = PrivacyScanner([path])
    assert scanner.scan(asking("hello")) is None
    assert "odd.env" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_secrets_are_not_kept_in_memory(env: Path) -> None:
    scanner = PrivacyScanner([env])
    scanner.scan(asking("hello"))
    seen: set[int] = set()

    def texts(value: object) -> list[str]:
        if id(value) in seen:
            return []
        seen.add(id(value))
        if isinstance(value, str | bytes):
            return [value if isinstance(value, str) else value.decode("latin-1")]
        if isinstance(value, list | tuple | set):
            return [text for item in value for text in texts(item)]
        slots = getattr(type(value), "__slots__", ())
        fields = [*vars(value).values()] if hasattr(value, "__dict__") else []
        return [t for item in [*fields, *(getattr(value, s) for s in slots)] for t in texts(item)]

    held = texts(scanner)
    assert any("SERVICE_TOKEN" in text for text in held)
    pieces = {s[i : i + 6] for s in (TOKEN, PASSPHRASE, AWKWARD) for i in range(len(s) - 5)}
    assert not [text for text in held if any(piece in text for piece in pieces)]


@pytest.mark.parametrize("key", CANARIES.values(), ids=CANARIES.keys())
@pytest.mark.parametrize(
    "text",
    [
        "\x1b[1;32m{}\x1b[0m",
        "https%3A%2F%2Fx%2F%3Fkey%3D{}",
        "%22{}%22",
        "C:\\{}",
        "{}",
        "key={}",
        "a\n{}\nb",
        "say '{}' to me",
        'header: "{}",',
        "https://x/?key={}&a=b",
    ],
)
def test_well_known_keys_are_found_wherever_a_word_begins(key: str, text: str) -> None:
    rule = PrivacyScanner().scan(asking(text.format(key)))
    assert rule in {*(shape.name for shape in SHAPES), AWS_SECRET, NAMED}
    assert key not in rule


@pytest.mark.parametrize("key", CANARIES.values(), ids=CANARIES.keys())
def test_a_key_of_which_a_search_has_coloured_a_part_is_found(key: str) -> None:
    for start, end in ((0, 4), (4, 9)):
        shown = f"{key[:start]}\x1b[01;31m\x1b[K{key[start:end]}\x1b[m\x1b[K{key[end:]}"
        assert PrivacyScanner().scan(asking(f"config.py:7:KEY={shown}"))


def test_a_private_key_is_found_in_each_of_its_armours() -> None:
    material = "\n".join(made_up(ALNUM + "+/", 64, str(i)) for i in range(8))
    for kind in ("RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", ""):
        for head in ("", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n"):
            pem = f"-----BEGIN {kind}PRIVATE KEY-----\n{head}{material}\n-----END"
            assert PrivacyScanner().scan(asking(pem)) == PRIVATE_KEY
            assert PrivacyScanner().scan(asking(json.dumps({"key": pem}))) == PRIVATE_KEY
    pgp = f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{material}\n-----END"
    assert PrivacyScanner().scan(asking(pgp)) == PRIVATE_KEY


@pytest.mark.parametrize(
    "text",
    [
        "sk-your-key-here-please-replace-it-soon",
        "export OPENAI_API_KEY=sk-...",
        "ANTHROPIC_API_KEY=sk-ant-your-key-goes-right-in-here",
        "task-management-system-for-very-large-organisations-2024",
        '<div class="sk-chasing-dot sk-fading-circle-animation-delay-12345678901234567890">',
        "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "-----BEGIN RSA PRIVATE KEY----- starts the file, then comes base64",
        "if (head == '-----BEGIN PRIVATE KEY-----') return readKey(stream); else throw new Error()",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg==",
        "eyJhbGciOiJIUzI1NiJ9 is how such a token begins",
        "hf_hub_download_with_a_long_function_name_indeed",
        "npm_config_registry_and_npm_package_name_and_more",
        "xai-org and xoxb-tokens and ghp_ prefixes and pypi-packages-of-note-2024",
        "github_pat_ is followed by 82 characters",
        "AIzaSy is how it begins",
        "AKIAXXXXXXXXXXXXXXXX and sk-ant-api03-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx, sk_live_xxxxxxxxxxxxxxxxxxxxxxxx",
        "glpat-your-token-goes-in-here and hvs.your_vault_token_goes_in_here_1",
        "#sk-admin-panel-2-column-layout-container",
        "FAQ.AFileNameThatIsLongEnoughToBeAKey2024AndSomeMoreOfIt.html",
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIn0."
        "dyt0CoTl4WoVjAHI9Q_CwSKhl6d_9rhM3NrXuJttkao",
    ],
)
def test_text_that_only_resembles_a_key_is_let_through(text: str) -> None:
    assert PrivacyScanner().scan(asking(text)) is None


def test_a_well_known_scanner_finds_nothing_of_these_kinds_that_we_do_not() -> None:
    plugins = [
        "AWSKeyDetector GitHubTokenDetector GitLabTokenDetector OpenAIDetector SlackDetector",
        "StripeDetector PypiTokenDetector SendGridDetector JwtTokenDetector PrivateKeyDetector",
    ]
    config = {"plugins_used": [{"name": name} for name in " ".join(plugins).split()]}
    scanner = PrivacyScanner()
    judged = 0
    with transient_settings(config):
        for name, key in CANARIES.items():
            for line in (f'token = "{key}"', f"{key}", f"Use {key}, please."):
                if list(scan_line(line)):
                    judged += 1
                    assert scanner.scan(asking(line)), name
        for path in sorted(Path(os.__file__).parent.glob("[a-e]*.py")):
            text = path.read_text(encoding="utf-8", errors="ignore")
            theirs = [line for line in text.splitlines() if list(scan_line(line))]
            assert (scanner.scan(asking(text)) is not None) <= bool(theirs), path.name
    assert judged >= 30


def test_no_false_alarm_in_a_library_of_source_code() -> None:
    scanner = PrivacyScanner()
    alarms = {
        path.name: rule
        for path in sorted(Path(os.__file__).parent.glob("*.py"))
        if (rule := scanner.scan(asking(path.read_text(encoding="utf-8", errors="ignore"))))
    }
    assert alarms == {}


def test_pictures_raise_no_alarm_whatever_their_bytes() -> None:
    scanner = PrivacyScanner(patterns=["falcon", r"\d{3}-\d{4}"])
    for seed in range(20):
        data = base64.b64encode(random.Random(seed).randbytes(60_000)).decode()
        data = data[:1000] + "AKIA" + made_up(string.ascii_uppercase, 16, "x") + data[1000:]
        url = f"data:image/png;base64,{data}"
        part = {"type": "image_url", "image_url": {"url": url}}
        body = orjson.dumps({"messages": [{"role": "user", "content": [part]}]})
        assert scanner.scan(body) is None
    assert scanner.scan(body.replace(b'"}}', b' falcon"}}')) == "entry 1 of PRIVATE_PATTERNS"


def test_own_words_are_named_by_their_number_only() -> None:
    scanner = PrivacyScanner(patterns=["falcon", "Project Titan"])
    assert scanner.scan(asking("about project\ntitan")) == "entry 2 of PRIVATE_PATTERNS"


def test_a_bad_pattern_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="PRIVATE_PATTERNS: entry 2: a repeat or a choice within"):
        PrivacyScanner(patterns=["fine", "(a+)+"])


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b'{"a":"\\ud800"}', b"\\", b"x" * 100, b"sk-" * 50]
)
def test_any_bytes_can_be_scanned(body: bytes) -> None:
    PrivacyScanner(patterns=["falcon"]).scan(body)


@pytest.mark.no_cover
@pytest.mark.parametrize("kind", many_kinds_of_text(100).keys())
def test_a_scan_is_fast_and_takes_time_in_proportion(env: Path, kind: str) -> None:
    scanner = PrivacyScanner([env], ["falcon", "Project Titan", r"PRJ-\d{4}", r"\w+@acme\.example"])

    small, large = (asking(many_kinds_of_text(size)[kind]) for size in (200_000, 2_000_000))
    # Three times what the slowest kind takes on an idle machine; bench/RESULTS.md has the figures.
    # A try may be slow because the machine is busy.
    assert any(_timed(scanner, small) < 0.05 for _ in range(30))
    assert any(_timed(scanner, large) < 0.5 for _ in range(10))


def _timed(scanner: PrivacyScanner, body: bytes) -> float:
    began = time.thread_time()
    assert scanner.scan(body) is None
    return time.thread_time() - began


def rules(scanner: PrivacyScanner, *contents: Any) -> list[str]:
    messages = [{"role": "user", "content": content} for content in contents]
    return [
        finding.rule for finding in scanner.findings(outgoing(ChatRequest({"messages": messages})))
    ]


def test_clean_text_is_searched_again_after_the_rules_change(tmp_path: Path) -> None:
    env, now = tmp_path / ".env", [0.0]
    scanner = PrivacyScanner([env], clock=lambda: now[0])
    assert rules(scanner, f"my word is {TOKEN}", "hello") == []
    env.write_text(f"LATE_TOKEN={TOKEN}\n", encoding="utf-8")
    now[0] += 10
    for _ in range(2):
        assert rules(scanner, f"my word is {TOKEN}", "hello") == ["value of LATE_TOKEN in .env"]


def test_a_secret_in_a_later_turn_of_a_conversation_that_was_clean_is_found(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text(f"SERVICE_TOKEN={TOKEN}\n", encoding="utf-8")
    scanner = PrivacyScanner([env])
    turns = [f"turn {i}" for i in range(20)]
    for end in range(1, 20):
        assert rules(scanner, *turns[:end]) == []
    assert rules(scanner, *turns, TOKEN)


def test_a_message_is_scanned_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scanner = PrivacyScanner()
    scanned: list[str] = []
    scan = scanner._scan

    def noted(text: str) -> Iterator[Finding]:
        scanned.append(text)
        return scan(text)

    monkeypatch.setattr(scanner, "_scan", noted)
    for end in range(1, 6):
        rules(scanner, *(f"turn {i}" for i in range(end)))
    assert len([text for text in scanned if "turn" in text]) == 5


def test_a_pattern_that_spans_two_parts_of_a_message_is_found() -> None:
    parts = [{"type": "text", "text": text} for text in ("the falcon", "is heavy")]
    assert rules(PrivacyScanner(patterns=["falcon.{1,60}heavy"]), parts)


def test_a_finding_names_the_rule_and_the_message_and_never_the_value() -> None:
    key = CANARIES["GitHub"]
    messages = [
        {"role": "user", "content": "Look."},
        {"role": "tool", "tool_call_id": "1", "content": f"token: {key}"},
    ]
    found = list(PrivacyScanner().findings(outgoing(ChatRequest({"messages": messages}))))
    assert [(f.rule, f.where, f.role) for f in found] == [("GitHub token", "messages[1]", "tool")]
    assert key[:8] not in str(found)


def test_the_same_value_has_the_same_id_wherever_it_stands() -> None:
    scanner = PrivacyScanner()
    one, other = CANARIES["GitHub"], CANARIES["GitLab"]
    messages = [{"role": "user", "content": text} for text in (one, f"again {one}", other)]
    found = list(scanner.findings(outgoing(ChatRequest({"messages": messages}))))
    assert found[0].id == found[1].id != found[2].id


def test_findings_beyond_the_limit_have_no_id() -> None:
    keys = " ".join("ghp_" + made_up(ALNUM, 36, str(i)) for i in range(MOST_FINDINGS + 5))
    messages = [{"role": "user", "content": keys}]
    found = list(PrivacyScanner().findings(outgoing(ChatRequest({"messages": messages}))))
    assert len(found) == MOST_FINDINGS + 1
    assert found[-1].id == ""


def slow_scan_of_large_text(
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[threading.Event, threading.Event]:
    """Let a scan of a large text set the first event and wait for the second."""
    begun, answered = threading.Event(), threading.Event()
    scan = PrivacyScanner._scan

    def slow(self: PrivacyScanner, text: str) -> Iterator[Finding]:
        if len(text) > LARGE_BYTES:
            begun.set()
            assert answered.wait(5), "the event loop stood still"
        return scan(self, text)

    monkeypatch.setattr(PrivacyScanner, "_scan", slow)
    return begun, answered


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {}),
        ("/v1/messages/count_tokens", {}),
        ("/classify", {}),
        ("/classify", {"local_model": "qwen3:8b"}),
    ],
)
async def test_other_requests_are_answered_while_a_large_body_is_scanned(
    path: str, fields: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = slow_scan_of_large_text(monkeypatch)
    words = f"{'word ' * 40_000}{CANARIES['GitHub']}"
    body = {"messages": [{"role": "user", "content": words}]}
    async with running_app() as app:
        large = asyncio.create_task(app.http.post(path, json=body | fields))
        await asyncio.to_thread(begun.wait, 5)
        assert (await app.ask("Hi")).status_code == 200
        answered.set()
        assert (await large).status_code == 200
        assert (await app.ask("", body=body)).headers["x-router-reason"] == "private"


async def test_other_requests_are_answered_while_the_large_past_of_a_small_one_is_scanned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running_app(unsure_target="local") as app:
        first = await app.http.post("/v1/responses", json={"input": "word " * 40_000})
        privacy = app.assembly.router.privacy
        assert privacy is not None
        privacy._scanner._known.clear()  # as if it were forgotten
        begun, answered = slow_scan_of_large_text(monkeypatch)
        follow_up = {"input": "And now?", "previous_response_id": first.json()["id"]}
        second = asyncio.create_task(app.http.post("/v1/responses", json=follow_up))
        assert await asyncio.to_thread(begun.wait, 5)
        assert (await app.ask("Hi")).status_code == 200
        answered.set()
        assert (await second).status_code == 200


async def test_a_secret_that_is_new_while_a_large_text_is_scanned_is_found_in_it(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    scanner = PrivacyScanner([env], clock=lambda: now)
    pieces = [("messages[0]", "user", f"{'word ' * 40_000}{AWKWARD[::-1]}")]
    scan = scanner._scan

    def meanwhile(text: str) -> Iterator[Finding]:
        nonlocal now
        found = list(scan(text))
        if now == 0:
            env.write_text(f"NEW_TOKEN='{AWKWARD[::-1]}'\n")
            now += LOOK_AGAIN_S
            assert list(scanner.findings([])) == []
        return iter(found)

    monkeypatch.setattr(PrivacyScanner, "_scan", lambda self, text: meanwhile(text))
    assert [found.rule for found in await scanner.read(pieces)] == ["value of NEW_TOKEN in .env"]


async def test_large_texts_are_scanned_one_at_a_time_and_once_even_if_their_callers_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    scanned: list[str] = []
    at_once = [0]
    scan = PrivacyScanner._scan

    def slow(self: PrivacyScanner, text: str) -> Iterator[Finding]:
        scanned.append(text[:5])
        at_once.append(at_once[-1] + 1)
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(5)
        at_once.append(at_once[-1] - 1)
        return scan(self, text)

    monkeypatch.setattr(PrivacyScanner, "_scan", slow)
    scanner = PrivacyScanner()
    one, other = ([("messages[0]", "user", text * 60_000)] for text in ("one, ", "other"))
    left = asyncio.create_task(scanner.read(one))
    await asyncio.wait_for(begun.wait(), 5)
    left.cancel()
    await asyncio.wait({left}, timeout=5)
    gone, *waiting = [asyncio.create_task(scanner.read(p)) for p in (other, one, other, one)]
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait({gone}, timeout=5)
    go_on.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert sorted(scanned) == ["one, ", "other"]
    assert max(at_once) == 1


async def test_text_from_16_kb_on_is_scanned_in_a_thread_and_shorter_text_in_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    scan = PrivacyScanner._scan

    def noting(self: PrivacyScanner, text: str) -> Iterator[Finding]:
        threads.append(threading.get_ident())
        return scan(self, text)

    monkeypatch.setattr(PrivacyScanner, "_scan", noting)
    scanner = PrivacyScanner()
    lines = [f"name_{i}_key={made_up(ALNUM, 20, str(i))}\n" for i in range(550)]
    for text in ("".join(lines), "".join(lines[:400])):
        await scanner.read([("messages[0]", "user", text)])
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [False, True]
