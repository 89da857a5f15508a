"""The log: aligned lines of bounded length, colours on a terminal only, JSON on request."""

import json
import logging
import re
import sys
from typing import Any

import pytest

from router.privacy.redact import RedactingFilter
from router.telemetry.log_line import DETAIL_COLUMNS, MESSAGE_COLUMNS, request_fields, request_line
from router.telemetry.record import Record
from tests.support.running_app import refusing, running_app
from web.logs import ESCAPES, JsonFormatter, TextFormatter

SECRET = "a-key-of-ours-that-is-long-enough"
MOST_COLUMNS = 120


def record(**fields: Any) -> Record:
    defaults: dict[str, Any] = {
        "target": "local",
        "backend": "local",
        "model": "qwen2.5-32b-instruct",
        "score": 23.4,
        "reason": "simple",
        "total_ms": 1234.0,
        "user_agent": "curl/8.14.1",
    }
    return Record("req_1", 0.0, **defaults | fields)


FAILED: dict[str, Any] = {"outcome": "failed", "error": "BackendTimeout", "status": 504}
RECORDS = {
    "answered": record(),
    "by the cloud": record(target="cloud", score=100, reason="cloud_unconfigured"),
    "quickly": record(total_ms=9.4, score=0),
    "slowly": record(total_ms=3_599_000.0),
    "failed": record(**FAILED, message="claude sent nothing for 300 seconds."),
    "failed without words": record(**FAILED),
    "never decided": record(
        **FAILED | {"status": 400}, target=None, reason="", model="", message="`messages`: empty"
    ),
    "left": record(outcome="left", status=499),
    "with long names": record(model="m" * 300, user_agent="u" * 300, reason="local_busy"),
    "with control characters": record(model="a\x1b[2Jb\nc\x9b", user_agent="\x1b]0;x\x07/1"),
    "wide": record(**FAILED, message="北京" * 100),
}


def formatted(formatter: logging.Formatter, request: Record) -> str:
    entry = logging.makeLogRecord(
        {
            "levelname": "INFO",
            "msg": "%s",
            "args": (request_line(request),),
            "request": request,
        }
    )
    RedactingFilter([SECRET]).filter(entry)
    return formatter.format(entry)


@pytest.mark.parametrize("request_", RECORDS.values(), ids=RECORDS)
def test_a_line_is_short_and_holds_no_control_character(request_: Record) -> None:
    line = formatted(TextFormatter(colours=False), request_)
    longer = MESSAGE_COLUMNS - DETAIL_COLUMNS if request_.outcome == "failed" else 0
    assert len(line) <= MOST_COLUMNS + longer
    assert line.isprintable()


def test_the_columns_of_all_lines_are_aligned() -> None:
    lines = [request_line(one) for one in RECORDS.values()]
    statuses = [
        line.index(f" {one.status} ") for line, one in zip(lines, RECORDS.values(), strict=True)
    ]
    assert len(set(statuses)) == 1
    details = {line.index(text) for line, text in ((lines[0], "qwen"), (lines[4], "claude sent"))}
    assert len(details) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("answered", ["local", "23", "simple", "200", "1.2 s", "curl", "qwen2.5-32b-instruct"]),
        ("failed", ["local", "23", "simple", "504", "claude sent nothing"]),
        ("failed without words", ["504", "BackendTimeout"]),
        ("never decided", ["-", "400", "`messages`: empty"]),
        ("left", ["499", "hung up"]),
    ],
)
def test_a_line_shows_the_outcome_of_a_request(name: str, words: list[str]) -> None:
    line = request_line(RECORDS[name])
    assert all(word in line for word in words), line


@pytest.mark.parametrize("request_", RECORDS.values(), ids=RECORDS)
def test_colours_change_nothing_else(request_: Record) -> None:
    coloured = formatted(TextFormatter(colours=True), request_)
    assert any(escape in coloured for escape in ESCAPES.values())
    bare = re.sub(r"\x1b\[\d*m", "", coloured)
    assert bare == formatted(TextFormatter(colours=False), request_)


@pytest.mark.parametrize("request_", RECORDS.values(), ids=RECORDS)
def test_json_on_request_has_one_object_a_line(request_: Record) -> None:
    line = formatted(JsonFormatter(RedactingFilter([SECRET]).clean), request_)
    assert "\n" not in line
    entry = json.loads(line)
    assert entry["level"] == "INFO"
    assert entry["status"] == request_.status
    assert entry | request_fields(request_) == entry


def test_json_of_another_entry_has_its_message_and_traceback_without_keys() -> None:
    try:
        raise KeyError(SECRET)
    except KeyError:
        info = sys.exc_info()
    entry = logging.makeLogRecord(
        {"levelname": "ERROR", "msg": "no %s", "args": (SECRET,), "exc_info": info}
    )
    RedactingFilter([SECRET]).filter(entry)
    line = JsonFormatter(RedactingFilter([SECRET]).clean).format(entry)
    assert SECRET not in line
    said = json.loads(line)
    assert said["message"].startswith("no ")
    assert "KeyError" in said["traceback"]


async def test_a_failed_request_is_logged_with_the_message_that_the_caller_got(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "router")
    async with running_app(local=refusing(400, "No such template.")) as h:
        answer = await h.ask("Hi", headers={"x-force-route": "local", "user-agent": "codex/1"})
        said = h.last.message
    assert answer.json()["error"]["message"] == said
    (line,) = [r.getMessage() for r in caplog.records if hasattr(r, "request")]
    assert said.split()[0] in line
    assert " codex " in line
