"""A conversation with private content stays on this machine, unless the user allows it."""

import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from config import load_settings
from router.build import build_router, marks_path
from router.request import ChatRequest
from router.router import Router
from router.state.file_lock import locked
from router.state.private_marks import MOST_ALARMS_EACH, MOST_MARKS, PrivateMarks
from tests.support.keys import CANARIES
from tests.support.paths import ROOT
from tests.support.running_app import RunningApp, running_app

KEY = CANARIES["GitHub"]
OTHER = CANARIES["GitLab"]
Json = dict[str, Any]

ASK: Json = {"role": "user", "content": "Look into the settings of this project, please."}
CALL: Json = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "call_7", "type": "function", "function": {"name": "read", "arguments": "{}"}}
    ],
}
SECRET: Json = {"role": "tool", "tool_call_id": "call_7", "content": f"TOKEN={KEY}"}
CLEARED: Json = SECRET | {"content": "[Old tool result content cleared]"}
ANSWER: Json = {"role": "assistant", "content": "It holds one token, and nothing else of interest."}
THANKS: Json = {"role": "user", "content": "Thank you. Now prove the four colour theorem."}
NEW: Json = {"role": "user", "content": "And now prove the other theorem, too."}


def private(router: Router, *messages: Json) -> str | None:
    assert router.privacy is not None
    found = router.privacy.check(ChatRequest({"messages": list(messages)}))
    return found.id if found else None


def routed(**settings: Any) -> Router:
    return build_router(load_settings(env=None, **settings))


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    router = routed(journal_path="off")
    yield router
    await router.aclose()


@pytest.mark.parametrize(
    "rest",
    [
        [ASK, CALL, CLEARED, ANSWER, THANKS],
        [CALL, CLEARED, ANSWER, THANKS],
        [ANSWER, THANKS],
        [THANKS, {"role": "assistant", "content": "Done."}, NEW],
        [{"role": "system", "content": "Be brief."}, ASK, NEW],
    ],
    ids=["cleared", "trimmed", "trimmed further", "the last question", "the first question"],
)
async def test_a_shortened_private_conversation_stays_local(
    router: Router, rest: list[Json]
) -> None:
    assert private(router, *rest) is None
    alarm = private(router, ASK, CALL, SECRET, ANSWER, THANKS)
    assert alarm is not None
    assert private(router, *rest) == alarm


async def test_later_messages_of_a_private_conversation_are_private(router: Router) -> None:
    private(router, ASK, CALL, SECRET)
    private(router, ASK, CALL, CLEARED, ANSWER, THANKS)
    assert private(router, ANSWER, THANKS, NEW)


async def test_another_conversation_is_not_private(router: Router) -> None:
    private(router, ASK, CALL, SECRET, ANSWER, THANKS)
    assert private(router, NEW, {"role": "assistant", "content": "No."}, NEW) is None


async def test_a_request_without_the_secret_that_ends_later_changes_nothing() -> None:
    async with running_app() as h:
        body = {"messages": [ASK, CALL, SECRET]}
        early = {"messages": [ASK]}
        await h.ask("", body=body)
        await h.ask("", body=early)
        late = await h.ask("", body={"messages": [ASK, CALL, CLEARED, ANSWER, THANKS]})
        assert late.headers["x-router-target"] == "local"
        assert late.headers["x-router-reason"] == "private"


async def test_private_conversations_are_remembered_over_a_restart(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"journal_path": str(tmp_path / "journal.db")}
    before = routed(**settings)
    private(before, ASK, CALL, SECRET, ANSWER)
    await before.aclose()
    after = routed(**settings)
    assert private(after, CALL, CLEARED, ANSWER, THANKS)
    assert private(after, NEW) is None
    await after.aclose()
    path = marks_path(load_settings(env=None, **settings))
    assert path is not None
    kept = path.read_bytes()
    assert len(kept) % 20 == 0
    assert path.stat().st_mode & 0o077 == 0
    for word in (KEY, "settings", "TOKEN", "GitHub"):
        assert word.encode() not in kept


def test_marks_are_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path, limit=10)
    for number in range(100):
        marks.raise_alarm([number.to_bytes(16, "big")], "finding", "a rule")
    marks.close()
    assert path.stat().st_size <= 20 * 20
    again = PrivateMarks(path, limit=10)
    assert again.alarms([(99).to_bytes(16, "big")])
    assert not again.alarms([(1).to_bytes(16, "big")])
    again.close()
    assert MOST_MARKS >= 10_000


def test_a_mark_that_was_written_in_part_loses_no_later_one(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    path.write_bytes(b"half")
    marks = PrivateMarks(path)
    marks.raise_alarm([b"a" * 16], "finding", "a rule")
    marks.close()
    again = PrivateMarks(path)
    assert again.alarms([b"a" * 16])
    again.close()


def test_the_file_of_marks_holds_what_memory_holds(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path)
    chance = random.Random(1)
    digests = [number.to_bytes(16, "big") for number in range(200)]
    for number in range(2000):
        alarm = marks.raise_alarm(chance.sample(digests, 3), f"finding {number}", "a rule")
        if chance.random() < 0.3:
            marks.forget(alarm.id)
    kept = {alarm: set(messages) for alarm, messages in marks.by_alarm().items()}
    marks.close()
    again = PrivateMarks(path)
    assert {alarm: set(messages) for alarm, messages in again.by_alarm().items()} == kept
    again.close()


def test_the_file_of_marks_is_rarely_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bool] = []

    def write(self: PrivateMarks, data: bytes, anew: bool) -> bool:
        written.append(anew)
        return True

    monkeypatch.setattr(PrivateMarks, "_write", write)
    marks = PrivateMarks(tmp_path / "marks", limit=100)
    shared = [number.to_bytes(16, "big") for number in range(50)]
    for number in range(1000):
        own = (1000 + number).to_bytes(16, "big")
        marks.raise_alarm([own, *shared], f"finding {number}", "a rule")
    marks.close()
    assert 1 <= written.count(True) <= 20
    assert marks.alarms(shared)


def test_a_file_that_is_written_anew_keeps_the_marks_of_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    one, other = PrivateMarks(path), PrivateMarks(path)
    assert other.is_empty, "it has read the file"
    mine = one.raise_alarm([b"a" * 16], "finding", "a rule")
    one.raise_alarm([b"b" * 16], "finding", "a rule")
    other.raise_alarm([b"c" * 16], "finding", "a rule")
    other.mark([b"d" * 16], mine.id)
    other.close()
    one.allow(mine.id)
    one.close()
    again = PrivateMarks(path)
    found = [letter for letter in "abcd" if again.alarms([letter.encode() * 16])]
    assert found == ["b", "c"], "what was allowed is not private for other processes' marks either"
    again.close()


def test_a_file_that_is_shortened_keeps_the_marks_of_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    one, other = PrivateMarks(path, limit=10), PrivateMarks(path, limit=10)
    assert one.is_empty
    other.raise_alarm([b"c" * 16], "finding", "a rule")
    other.close()
    for number in range(100):
        one.raise_alarm([number.to_bytes(16, "big")], "finding", "a rule")
    one.close()
    assert path.stat().st_size <= 21 * 20
    again = PrivateMarks(path)
    assert again.alarms([b"c" * 16])
    again.close()


MARKS_AND_ALLOWS = """
import sys
from pathlib import Path
from router.state.private_marks import PrivateMarks

marks = PrivateMarks(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
for number in range(100):
    marks.raise_alarm([f"{sys.argv[2]} {number:>14}".encode()], f"kept {number}", "a rule")
    marks.allow(marks.raise_alarm([bytes(16)], f"allowed {number}", "a rule").id)
    marks._writer.submit(int).result()  # each write is one of its own
marks.close()
"""


def test_processes_that_write_one_file_lose_no_mark(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    command = [sys.executable, "-c", MARKS_AND_ALLOWS, str(path)]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            for name in "abc"
        ]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline()
        for process in running:
            assert process.stdin is not None
            process.stdin.close()
        assert [process.wait(60) for process in running] == [0, 0, 0]
    marks = PrivateMarks(path)
    lost = [
        digest
        for name in "abc"
        for number in range(100)
        if not marks.alarms([digest := f"{name} {number:>14}".encode()])
    ]
    marks.close()
    assert lost == []


def has_written(marks: PrivateMarks) -> Future[int]:
    """Return what is done when the thread has tried to write all that was handed over."""
    assert marks._writer is not None
    return marks._writer.submit(int)


def test_a_mark_is_written_when_another_process_gives_the_lock_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path)
    with locked(path):
        marks.raise_alarm([b"a" * 16], "finding", "a rule")
        writing = has_written(marks)
        with pytest.raises(TimeoutError):
            writing.result(0.2)
    writing.result(5)
    assert PrivateMarks(path).alarms([b"a" * 16])
    assert not caplog.text
    marks.close()


def test_a_lock_that_another_process_keeps_causes_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path)
    monkeypatch.setattr("router.state.file_lock.WAIT_S", 0.01)
    with locked(path):
        marks.raise_alarm([b"a" * 16], "finding", "a rule")
        marks.close()
        assert not path.exists()
    assert "cannot be kept over a restart" in caplog.text
    assert "marks.lock" in caplog.text


@pytest.mark.parametrize("allows", [False, True])
def test_marks_that_could_not_be_written_are_written_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allows: bool
) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path)
    alarm = marks.raise_alarm([b"0" * 16], "finding", "a rule")
    has_written(marks).result(5)
    monkeypatch.setattr("router.state.file_lock.WAIT_S", 0.01)
    with locked(path):
        marks.raise_alarm([b"a" * 16], "finding", "a rule")
        has_written(marks).result(5)
        if allows:
            marks.allow(alarm.id)  # replaces the file
        marks.raise_alarm([b"b" * 16], "finding", "a rule")
        has_written(marks).result(5)
    marks.raise_alarm([b"c" * 16], "finding", "a rule")
    has_written(marks).result(5)
    again = PrivateMarks(path)
    found = [letter for letter in "0abc" if again.alarms([letter.encode() * 16])]
    assert found == (["a", "b", "c"] if allows else ["0", "a", "b", "c"])
    marks.close()


def test_marks_that_could_not_be_written_are_written_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path)
    monkeypatch.setattr("router.state.file_lock.WAIT_S", 0.01)
    with locked(path):
        marks.raise_alarm([b"a" * 16], "finding", "a rule")
        has_written(marks).result(5)
    marks.close()
    marks.close()
    assert PrivateMarks(path).alarms([b"a" * 16])


def test_an_alarm_that_is_allowed_while_its_marks_cannot_be_written_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "marks"
    marks = PrivateMarks(path)
    write, allowed = marks._write, list[bool]()

    def failing_once(data: bytes, anew: bool) -> bool:
        if not allowed:
            allowed.append(marks.allow("aabbccdd"))
            return False
        return write(data, anew=anew)

    monkeypatch.setattr(marks, "_write", failing_once)
    marks.mark([b"a" * 16], "aabbccdd")
    has_written(marks).result(5)
    marks.close()
    assert allowed == [True]
    assert PrivateMarks(path).is_empty


def test_marks_that_are_never_written_take_a_bounded_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    marks = PrivateMarks(tmp_path / "file" / "marks", limit=10)
    for number in range(100):
        marks.raise_alarm([number.to_bytes(16, "big")], "finding", "a rule")
        has_written(marks).result(5)
    assert len(b"".join(marks._unwritten)) <= 21 * 20
    marks.close()


@pytest.mark.parametrize("content", [b"", b"short", bytes(1010)])
def test_a_damaged_file_of_marks_does_no_harm(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "marks"
    path.write_bytes(content)
    marks = PrivateMarks(path)
    marks.raise_alarm([b"x" * 16], "finding", "a rule")
    marks.close()
    again = PrivateMarks(path)
    assert bool(again.alarms([b"x" * 16])) or len(content) % 20
    again.close()


def test_marks_that_cannot_be_written_cause_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    marks = PrivateMarks(tmp_path / "file" / "marks")
    for number in range(3):
        marks.raise_alarm([number.to_bytes(16, "big")], "finding", "a rule")
    assert marks.alarms([(0).to_bytes(16, "big")])
    marks.close()
    assert len([r for r in caplog.records if "cannot be kept" in r.getMessage()]) == 1


# --- allowing a false alarm -----------------------------------------------------------------------


@pytest.fixture
async def h() -> AsyncIterator[RunningApp]:
    async with running_app(complexity_threshold=0) as h:
        yield h


async def alarm_of(h: RunningApp, *messages: Json) -> Json:
    said = (await h.http.post("/classify", json={"messages": list(messages)})).json()
    finding: Json = said["finding"]
    return finding


async def target_of(h: RunningApp, *messages: Json) -> str:
    answer = await h.ask("", body={"messages": list(messages)})
    return str(answer.headers["x-router-target"])


async def test_classify_says_which_rule_in_which_message_and_what_to_do(h: RunningApp) -> None:
    finding = await alarm_of(h, ASK, CALL, SECRET)
    assert (finding["rule"], finding["where"], finding["role"]) == (
        "GitHub token",
        "messages[2]",
        "tool",
    )
    assert finding["id"] in finding["advice"]
    assert KEY[:8] not in str(finding)
    assert await alarm_of(h, {"role": "user", "content": "Hello there."}) is None


async def test_an_allowed_finding_lets_its_conversation_go_on(h: RunningApp) -> None:
    messages = [ASK, CALL, SECRET, ANSWER, THANKS]
    assert await target_of(h, *messages) == "local"
    finding = await alarm_of(h, *messages)
    answer = await h.http.post("/privacy/allow", json={"id": finding["id"]})
    assert answer.json() == {"allowed": finding["id"]}
    assert await target_of(h, *messages) == "cloud"
    assert await target_of(h, *messages, ANSWER, NEW) == "cloud"
    assert await target_of(h, CALL, SECRET, ANSWER, NEW) == "cloud"


async def test_an_alarm_is_allowed_for_one_finding_in_one_conversation(h: RunningApp) -> None:
    messages = [ASK, CALL, SECRET, ANSWER, THANKS]
    finding = await alarm_of(h, *messages)
    await h.http.post("/privacy/allow", json={"id": finding["id"]})
    other = {"role": "user", "content": f"What of {OTHER}?"}
    assert await target_of(h, *messages, ANSWER, other) == "local"
    elsewhere = {"role": "user", "content": f"Another conversation, with {KEY} in it."}
    assert await target_of(h, elsewhere) == "local"


WORK: Json = {"role": "user", "content": "Go on with the work that the summary is about, please."}
TRIGGER: Json = {"type": "compaction_trigger"}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/responses/compact", {}),
        ("/v1/responses", {}),
        ("/v1/responses", {"stream": True}),
    ],
    ids=["its own route", "a trigger", "a trigger, streamed"],
)
@pytest.mark.parametrize(
    ("said", "target"), [(f"My key is {KEY}.", "local"), ("I have no key.", "cloud")]
)
async def test_a_conversation_that_continues_from_a_private_summary_stays_here(
    h: RunningApp, path: str, fields: Json, said: str, target: str
) -> None:
    asked = [{"role": "user", "content": said}, *([] if "compact" in path else [TRIGGER])]
    answer = await h.http.post(path, json={"input": asked} | fields)
    (summary,) = [item for item in items_of(answer) if item["type"] == "compaction"]
    body = {"input": [summary, WORK]}
    goes_on = await h.http.post("/v1/responses", json=body)
    assert goes_on.headers["x-router-target"] == target
    body = {"input": [NEW], "previous_response_id": goes_on.json()["id"]}
    assert (await h.http.post("/v1/responses", json=body)).headers["x-router-target"] == target


def items_of(answer: httpx2.Response) -> list[Json]:
    if "stream" not in answer.headers["content-type"]:
        items: list[Json] = answer.json()["output"]
        return items
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:7] == "data: {"]
    return [event["item"] for event in events if event["type"] == "response.output_item.done"]


async def test_allowing_one_of_two_findings_is_not_enough(h: RunningApp) -> None:
    both = {"role": "user", "content": f"Compare {KEY} and {OTHER}, please."}
    for target in ("local", "cloud"):
        finding = await alarm_of(h, both)
        await h.http.post("/privacy/allow", json={"id": finding["id"]})
        assert await target_of(h, both) == target


async def test_a_conversation_with_many_findings_stays_private_when_some_are_allowed(
    tmp_path: Path,
) -> None:
    marks = PrivateMarks(tmp_path / "marks")
    message = [bytes(16)]
    findings = [f"finding {n}" for n in range(MOST_ALARMS_EACH + 2)]
    alarms = [marks.raise_alarm(message, finding, "a rule") for finding in findings]
    allowed = [marks.allow(alarm.id) for alarm in alarms]
    assert allowed == [True] * MOST_ALARMS_EACH + [False] * 2
    (left,) = marks.alarms(message)
    assert not marks.allow(left)
    marks.close()
    again = PrivateMarks(tmp_path / "marks")
    assert again.alarms(message)
    again.close()


@pytest.mark.parametrize("body", [{}, {"id": 7}, {"id": "1f0c9a52"}, {"id": ""}])
async def test_an_id_that_is_of_no_finding_is_refused(h: RunningApp, body: Json) -> None:
    answer = await h.http.post("/privacy/allow", json=body)
    assert answer.status_code == 400
    assert "/classify" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.168.0.7", 403), ("8.8.8.8", 403)]
)
async def test_only_the_user_on_this_machine_can_allow_a_finding(
    h: RunningApp, host: str, status: int, from_address: Callable[[RunningApp, str], Any]
) -> None:
    finding = await alarm_of(h, ASK, CALL, SECRET)
    async with from_address(h, host) as http:
        answer = await http.post("/privacy/allow", json={"id": finding["id"]})
    assert answer.status_code == status


@pytest.fixture
def from_address() -> Callable[[RunningApp, str], Any]:
    def client(h: RunningApp, host: str) -> Any:
        transport = httpx2.ASGITransport(h.app, client=(host, 1234))
        return httpx2.AsyncClient(transport=transport, base_url="http://localhost")

    return client
