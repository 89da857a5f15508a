"""Scripted agents: some go in circles, others look like it and get on."""

import time
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from router.answers.stalled import is_stalled

Step = tuple[str, dict[str, Any], str]
"""A tool, its arguments, and its result."""
TASK = {"role": "user", "content": "Find out why the build fails, and mend it."}
LISTING = "src\ntests\nREADME.md\npyproject.toml\n"
SOURCE = "def load(item, cache):\n    return cache.get(item.key) or read(item)\n" * 12


def called(number: int, *steps: Step) -> list[dict[str, Any]]:
    """The messages of one answer with these calls, and their results."""
    calls, results = [], []
    for at, (name, arguments, result) in enumerate(steps):
        id = f"call_{number}_{at}"
        function = {"name": name, "arguments": orjson.dumps(arguments).decode()}
        calls.append({"id": id, "type": "function", "function": function})
        results.append({"role": "tool", "tool_call_id": id, "content": result})
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *results]


def history(steps: Iterable[Step]) -> list[dict[str, Any]]:
    messages = [TASK]
    for number, step in enumerate(steps):
        messages += called(number, step)
    return messages


def first_stalled(steps: list[Step]) -> int | None:
    """After how many steps the agent is found to be stuck."""
    for count in range(1, len(steps) + 1):
        if is_stalled(history(steps[:count])):
            return count
    return None


def read(path: str, result: str) -> Step:
    return "read_file", {"path": path}, result


def run(command: str, result: str) -> Step:
    return "bash", {"command": command}, result


STUCK: dict[str, tuple[list[Step], int]] = {
    "one call again and again": ([read("a.py", SOURCE)] * 5, 3),
    "one call after a good beginning": (
        [run("ls", LISTING), read("a.py", SOURCE), *[run("git status", "clean")] * 4],
        5,
    ),
    "one call that takes another time each run": (
        [run("make", f"done in {n}.3{n} s at 12:0{n}:07\nnothing to be done") for n in range(5)],
        3,
    ),
    "one call spelled in three ways": (
        [
            ("grep", {"path": ".", "text": "load"}, "a.py:1"),
            ("grep", {"text": "load", "path": "."}, "a.py:1"),
            ("grep", {"path": ".", "text": "load"}, "a.py:1"),
            ("grep", {"text": "load", "path": "."}, "a.py:1"),
        ],
        3,
    ),
    "two calls in turn": ([run("ls", LISTING), read("a.py", SOURCE)] * 4, 5),
    "three calls in turn": (
        [run("ls", LISTING), read("a.py", SOURCE), ("grep", {"text": "x"}, "no matches")] * 3,
        7,
    ),
    "a path that gets deeper": (
        [("list", {"path": "/src" * n}, "The folder is empty.") for n in range(1, 6)],
        3,
    ),
    "a search that gets longer": (
        [
            ("search", {"query": "cache error" + " python" * n}, "No results found.")
            for n in range(1, 6)
        ],
        3,
    ),
    "a window that gets larger": (
        [("read", {"path": "a.py", "limit": 100 * n}, SOURCE) for n in range(1, 6)],
        3,
    ),
    "errors of shells": (
        [
            run("pyton a.py", "bash: pyton: command not found"),
            run("python b.py", "python: can't open file 'b.py': [Errno 2] No such file"),
            run("./a.py", "Permission denied\nexit code: 126"),
            run("python a", "Traceback (most recent call last):\n  ...\nValueError: a"),
        ],
        3,
    ),
    "errors of editors and readers": (
        [
            read("app.ts", "<tool_use_error>File does not exist.</tool_use_error>"),
            ("edit", {"path": "a.py", "old": "x"}, "Error: String to replace not found in file."),
            ("write", {"path": 7}, "InputValidationError: path must be a string"),
            ("glob", {"pattern": "["}, "Invalid pattern"),
        ],
        3,
    ),
    "errors of programs": (
        [
            ("fetch", {"url": "x"}, '{"status": "error", "message": "no host"}'),
            ("query", {"sql": "select"}, '{"success": false, "rows": []}'),
            ("fetch", {"url": "y"}, "HTTP 404 Not Found"),
            ("fetch", {"url": "z"}, "ECONNREFUSED 127.0.0.1:80"),
        ],
        3,
    ),
}

HEALTHY: dict[str, list[Step]] = {
    "a job is polled": [
        *[("job_status", {"id": 7}, '{"status": "running"}')] * 6,
        ("job_status", {"id": 7}, '{"status": "done"}'),
    ],
    "a job reports how far it is": [
        ("job_status", {"id": 7}, f"{n * 20} % done") for n in range(1, 6)
    ],
    "a counter is watched": [run("wc -l out.csv", f"{n} out.csv") for n in (10, 310, 520, 990)],
    "a server is waited for": [
        run("curl localhost:8000", "curl: (7) connection refused"),
        run("sleep 2", ""),
    ]
    * 4
    + [run("curl localhost:8000", "hello")],
    "pages are read to the last": [
        ("list_issues", {"page": n}, f"issue {n * 10}, issue {n * 10 + 1}") for n in range(1, 8)
    ],
    "a file is read in parts": [
        ("read", {"path": "a.py", "offset": n * 50}, f"{n}{SOURCE}") for n in range(6)
    ],
    "a retry works": [
        run("npm install", "npm error network timed out"),
        run("npm install", "npm error network timed out"),
        run("npm install", "added 210 packages"),
        run("npm test", "Error: test failed\nexit code 1"),
        run("npm test", "Error: test failed\nexit code 1"),
        run("npm run build", "built"),
    ],
    "a service asks to come back later": [
        *[("fetch", {"url": "x"}, "Error 429: rate limit, retry after 2 s")] * 4,
        ("fetch", {"url": "x"}, "the page"),
    ],
    "tests fail between edits": [
        step
        for n in range(5)
        for step in (
            ("edit", {"path": "a.py", "old": f"x{n}", "new": f"y{n}"}, "The file was changed."),
            run("pytest -q", "1 failed, 20 passed\nexit code 1"),
        )
    ],
    "a document is written in parts": [
        (
            "write",
            {"path": "a.md", "text": "".join(f"Chapter {c}\n{'abc'[c] * 9}\n" for c in range(n))},
            "File written.",
        )
        for n in range(1, 4)
    ],
    "many files are deleted": [("delete", {"id": n}, "Deleted.") for n in range(1, 8)],
    "code and logs that speak of errors are read": [
        read("errors.py", '"""Errors of the parser."""\n\nclass ParseError(Exception): ...'),
        read("app.log", "2026-11-30 07:00:01 ERROR worker failed: timed out\n" * 50),
        read("README.md", "Error handling\n==============\nWhat to do when a call failed."),
        ("search", {"query": "retry"}, "No errors found in 12 files"),
    ],
}


@pytest.mark.parametrize("name", STUCK)
def test_an_agent_that_goes_in_circles_is_found_within_a_step_of_the_third(name: str) -> None:
    steps, third = STUCK[name]
    found = first_stalled(steps)
    assert found is not None
    assert third <= found <= third + 1


@pytest.mark.parametrize("name", HEALTHY)
def test_an_agent_that_gets_on_is_left_alone(name: str) -> None:
    assert first_stalled(HEALTHY[name]) is None


@pytest.mark.parametrize("name", STUCK)
def test_the_conversation_stays_stalled_when_the_agent_gets_on_again(name: str) -> None:
    after: list[Step] = [run(f"make {n}", f"made part {n}") for n in range(4)]
    assert is_stalled(history([*STUCK[name][0], *after]))


def test_the_human_may_ask_for_the_same_again() -> None:
    messages = [message for n in range(4) for message in (TASK, *called(n, read("a.py", SOURCE)))]
    assert not is_stalled(messages)


def test_a_reminder_of_the_client_is_no_human() -> None:
    reminder = {"role": "user", "content": "<system-reminder>Use the to-do list.</system-reminder>"}
    messages = [
        m for n in range(3) for m in (TASK if not n else reminder, *called(n, read("a", "b")))
    ]
    assert is_stalled(messages)


def test_calls_made_at_once_are_one_step() -> None:
    missing = [read(f"{name}.py", "Error: no such file") for name in "abcd"]
    assert not is_stalled([TASK, *called(0, *missing)])
    half = [read("a.py", "Error: no such file"), read("b.py", SOURCE)]
    assert not is_stalled([TASK, *[m for n in range(2) for m in called(n, *half)]])


@pytest.mark.parametrize(
    "call",
    [
        {},
        {"function": None},
        {"function": {"name": 7, "arguments": ["a"]}},
        {"function": {"name": "look", "arguments": "{broken"}},
        {"type": "custom", "custom": {"name": "patch", "input": "*** Begin"}},
    ],
    ids=str,
)
def test_calls_in_any_shape_are_read(call: dict[str, Any]) -> None:
    step: list[dict[str, Any]] = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "x", "content": [{"type": "text", "text": "same"}]},
    ]
    assert is_stalled([TASK, *step * 3]) == bool(call.get("function") or call.get("custom"))


def test_a_long_history_takes_little_time() -> None:
    text = "Error " + "a" * 100_000
    steps = [run(f"echo {text}{n}", f"{text}\n{'Error: ' * 9_000}{n}") for n in range(200)]
    messages = history(steps)
    began = time.process_time()
    is_stalled(messages)
    assert time.process_time() - began < 0.25


def test_very_deeply_nested_arguments_are_compared_without_an_error() -> None:
    def step(number: int) -> list[dict[str, Any]]:
        deep = ", ".join(["[" * 300 + "]" * 300] * (number + 1))
        messages = called(number, ("note", {}, "nothing"))
        messages[0]["tool_calls"][0]["function"]["arguments"] = f'{{"items": [{deep}]}}'
        return messages

    steps = [step(number) for number in range(5)]
    assert not is_stalled([TASK, *(message for one in steps for message in one)])
    assert is_stalled([TASK, *(step(0) * 5)])
