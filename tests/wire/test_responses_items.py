"""Items of next year and summaries of conversations, as Codex sends them."""

from typing import Any

import orjson
import pytest
from openai.types.responses import CompactedResponse, ResponseCompactionItem

from router.errors import BackendBroken, InvalidRequest
from router.events import Event, Finish, ReasoningDelta, TextDelta, Usage
from router.request import ChatRequest
from router.wire import sse
from router.wire.responses import responses as wire
from tests.support.clients import joined, said
from web.responses_store import CompactedResponses, ResponsesStore, StoredResponses

ASKED = {"role": "user", "content": "Build a kite."}
TRIGGER = {"type": "compaction_trigger"}
FOREIGN = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SUMMARY: list[Event] = [
    ReasoningDelta("Hmm."),
    TextDelta("They want "),
    TextDelta("a kite."),
    Finish("stop", Usage(20, 9)),
]


def parse(*items: Any, **fields: Any) -> ChatRequest:
    return wire.parse(orjson.dumps({"model": "auto", "input": list(items), **fields}))


@pytest.mark.parametrize(
    ("item", "messages", "left_out"),
    [
        (
            {"type": "agent_message", "author": "a", "content": [{"text": "Ready."}]},
            [{"role": "user", "content": "Ready."}],
            (),
        ),
        (
            {"type": "thesis", "role": "assistant", "content": [{"type": "x", "text": "So."}]},
            [{"role": "assistant", "content": "So."}],
            (),
        ),
        (
            {"type": "hologram", "data": "x"},
            [{"role": "user", "content": "(An item of type hologram is left out here.)"}],
            ("input.hologram",),
        ),
        (
            FOREIGN,
            [{"role": "user", "content": "(An item of type compaction is left out here.)"}],
            ("input.compaction",),
        ),
        (
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}, {"type": "smell"}]},
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Hi"},
                        {"type": "text", "text": "(An item of type smell is left out here.)"},
                    ],
                }
            ],
            ("input.smell",),
        ),
        ({"type": "configuration_update", "tools": []}, [], ()),
        ({"type": "image_generation_call", "result": "iVBO"}, [], ()),
    ],
)
def test_an_item_of_unknown_type_is_put_into_words_or_left_out_and_named(
    item: dict[str, Any], messages: list[dict[str, Any]], left_out: tuple[str, ...]
) -> None:
    request = parse({"role": "assistant", "content": "Yes?"}, item)
    first, *rest = request.messages
    if messages and messages[0]["role"] == "assistant":
        assert first["content"] == "Yes?\n\n" + messages[0]["content"]
    else:
        assert rest == messages
    assert request.dropped == left_out
    assert request.original is not None
    assert request.original["input"][1] == item


def test_the_output_of_a_call_of_any_kind_follows_its_call() -> None:
    call = {"type": "tool_search_call", "call_id": "c1", "arguments": {"query": "mail"}}
    tools = [{"type": "namespace", "name": "mail", "tools": [FUNCTION]}]
    output = {"type": "tool_search_output", "call_id": "c1", "status": "completed", "tools": tools}
    request = parse(ASKED, call, output, tools=[FUNCTION])
    assert [message["role"] for message in request.messages] == ["user", "assistant", "tool"]
    assert "mail" in request.messages[2]["content"]
    assert [tool["function"]["name"] for tool in request.tools] == ["f", "mail__f"]


def test_an_output_without_its_call_is_put_into_words() -> None:
    request = parse(ASKED, {"type": "program_output", "call_id": "c9", "stdout": "42"})
    assert request.messages == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Build a kite."},
                {"type": "text", "text": "42"},
            ],
        }
    ]


# --- summaries -----------------------------------------------------------------------------------


def test_a_trigger_asks_for_a_summary_and_allows_no_tool() -> None:
    request = parse(ASKED, TRIGGER, tools=[FUNCTION], stream=True)
    assert request.purpose == "compaction"
    assert "summary" in request.messages[-1]["content"][-1]["text"]
    assert request.tools
    assert request.body["tool_choice"] == "none"
    assert parse(ASKED).purpose is None


async def test_the_summary_is_one_item_that_stands_for_the_conversation() -> None:
    request = parse(ASKED, TRIGGER, stream=True)
    stream = await joined(wire.stream(said(SUMMARY), request, "m", "resp_1", 17))
    events = [orjson.loads(data) for data in sse.data_of(stream)]
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(5))
    [item] = events[-1]["response"]["output"]
    assert events[-2]["item"] == item
    assert ResponseCompactionItem.model_validate(item).id == "cmp_1"
    again = parse(item, {"role": "user", "content": "Go on."})
    [message] = again.messages
    assert message["content"][0]["text"].endswith("\n\nThey want a kite.")
    assert again.dropped == ()


@pytest.mark.parametrize("events", [[Finish("stop")], [TextDelta(" \n"), Finish("length")]])
async def test_an_empty_summary_is_a_failure(events: list[Event]) -> None:
    request = parse(ASKED, TRIGGER)
    with pytest.raises(BackendBroken, match="no summary"):
        await wire.complete(said(events), request, "m", "resp_1", 17)


async def test_compact_returns_the_users_messages_and_the_summary() -> None:
    answer = {"role": "assistant", "content": "With what?"}
    dialect = CompactedResponses()
    body = {"model": "auto", "input": [ASKED, answer], "tools": [FUNCTION]}
    request = dialect.parse(orjson.dumps(body))
    response = await dialect.complete(said(SUMMARY), request, "m", "resp_1", 17)
    said_before, summary = response["output"]
    compacted = CompactedResponse.model_validate(response | {"output": [summary]})
    assert compacted.usage.output_tokens == 9
    assert said_before == {
        "id": "msg_1_0",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "Build a kite."}],
    }
    assert parse(*response["output"]).dropped == ()
    assert summary["type"] == "compaction"


@pytest.mark.parametrize(
    "item", [{"type": "note"}, {"type": "note", "content": 5}, {"type": "note_call", "content": []}]
)
async def test_compact_returns_no_item_that_is_no_message(item: Any) -> None:
    dialect = CompactedResponses()
    request = dialect.parse(orjson.dumps({"input": [{"role": "user", **item}, ASKED]}))
    response = await dialect.complete(said(SUMMARY), request, "m", "resp_1", 17)
    kept, _ = response["output"]
    assert kept["content"] == [{"type": "input_text", "text": "Build a kite."}]


async def test_compact_knows_a_conversation_by_its_last_response() -> None:
    store = ResponsesStore()
    first = StoredResponses(store)
    request = first.parse(orjson.dumps({"input": [ASKED]}))
    await first.complete(said(SUMMARY), request, "m", "resp_1", 17)
    dialect = CompactedResponses(store)
    again = dialect.parse(orjson.dumps({"previous_response_id": "resp_1"}))
    assert again.messages[0] == {"role": "user", "content": "Build a kite."}
    assert again.purpose == "compaction"
    with pytest.raises(InvalidRequest, match="`input`"):
        dialect.parse(b"{}")
