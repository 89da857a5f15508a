"""Which error messages quote a request."""

import json
from typing import Any

import orjson
import pytest

from router.telemetry.quotations import QUOTED_CHARS, quotes

DIARY = "Dear diary, today Grandmother sold the farm."
EVENT = f'data: {{"delta": "{DIARY}"}}'


def asking(**fields: Any) -> dict[str, Any]:
    return {
        "model": "qwen3-coder-30b-a3b",
        "messages": [{"role": "user", "content": "?"}],
        **fields,
    }


def calling(arguments: str, id: str = "call_1") -> dict[str, Any]:
    function = {"name": "mcp__notes__search_all", "arguments": arguments}
    call = {"id": id, "type": "function", "function": function}
    return asking(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])


def offering(**schema: Any) -> dict[str, Any]:
    function = {"name": "mcp__notes__search_all", **schema}
    return asking(tools=[{"type": "function", "function": function}])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (calling(orjson.dumps({"text": DIARY}).decode()), f"cannot parse {DIARY[5:30]}"),
        (calling('{"text": "Großmutter verkauft d'), 'cannot parse {"text": "Großmutter ver'),
        (calling(json.dumps({"t": "Бабушка продала ферму."})), "Как это: Бабушка продала ферму.?"),
        (calling('{"q": "Ulm"}'), 'bad arguments {"q": "Ulm"}'),
        (offering(description=DIARY), f"the description {DIARY!r} is too long"),
        (
            offering(parameters={"properties": {"name": {"description": DIARY}}}),
            f"cannot read {DIARY[:30]}",
        ),
        (asking(response_format={"schema": {"enum": [DIARY]}}), f"no such value: {DIARY}"),
        (asking(metadata={"user_id": "anna.schmidt@example.org"}), "anna.schmidt@example.org?"),
        (asking(system="Be kind"), "cannot Be kind"),
        (
            asking(messages=[{"role": "user", "content": [{"type": "text", "text": "Ulm"}]}]),
            "no Ulm here",
        ),
        ({"prompt": DIARY}, f"cannot continue {DIARY}"),
        ({"input": ["?", DIARY]}, f"cannot embed {DIARY}"),
        (asking(messages=[{"role": "user", "content": EVENT}]), f"cannot parse {EVENT}"),
        ({"prompt": f"data:text/plain;base64, you say? {DIARY}"}, f"cannot continue {DIARY}"),
        (
            calling(json.dumps({"line": "data: Бабушка продала ферму."})),
            "Как это: Бабушка продала ферму.?",
        ),
    ],
)
def test_words_anywhere_in_a_request_are_quoted(body: dict[str, Any], message: str) -> None:
    assert quotes(message, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (asking(), "qwen3-coder-30b-a3b is not loaded"),
        (calling("{}", "toolu_01ABCDEFGHIJKLMNOP"), "no result of toolu_01ABCDEFGHIJKLMNOP"),
        (offering(), "mcp__notes__search_all has no parameters"),
        (offering(parameters={"type": "object"}), "the schema is no object"),
        (asking(tool_choice="required"), "a model is required"),
        (calling("not JSON"), "broken"),
        (asking(stop=None, temperature=1), "out of memory"),
    ],
)
def test_names_ids_and_words_of_a_schema_may_be_in_a_message(
    body: dict[str, Any], message: str
) -> None:
    assert not quotes(message, body)


def test_a_files_data_is_not_searched() -> None:
    data = "data:image/png;base64," + "QUJDREVGR0hJSktM" * 4
    body = asking(messages=[{"role": "user", "content": [{"image_url": {"url": data}}]}])
    assert not quotes("QUJDREVGR0hJSktM" * 2, body)


def test_any_form_in_which_a_backend_gets_the_request_counts() -> None:
    assert quotes(f"cannot read {DIARY}", asking(), {"instructions": DIARY})


def test_deep_arguments_are_read() -> None:
    deep = "[" * 900 + f'"{DIARY}"' + "]" * 900
    assert quotes(f"cannot read {DIARY}", calling(deep))


@pytest.mark.parametrize("at", range(QUOTED_CHARS))
def test_23_characters_are_found_wherever_they_stand(at: int) -> None:
    said = "I have sold my grandmother's farm and the cows with it."
    message = f"{'.' * at}{said[10:33]}{'.' * 40}"
    assert quotes(message, {"prompt": said})
