"""Requests in the three dialects that hold a text somewhere, and ways to spell a text."""

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]

QUESTION = "Please look at this."


UPPER = "\\u{:04X}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def u_escapes(text: str, form: str = "\\u{:04x}") -> str:
    """Each character as an escape."""
    return "".join(form.format(ord(character)) for character in text)


def colour_amid(key: str, before: str, behind: str) -> str:
    """A key of which a search has coloured the first four characters."""
    return f"{before}{key[:4]}{behind}{key[4:]}"


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": lambda key: f"export KEY={key}",
    "JSON in JSON": lambda key: json.dumps({"a": json.dumps({"cmd": f'export K="{key}"'})}),
    "quotes escaped by number": lambda key: f'{{"cmd":"export GH=\\u0022{key}\\u0022"}}',
    "an equals sign escaped by number": lambda key: f'{{"cmd":"GH\\u003d{key}"}}',
    "all of it escaped": lambda key: f'{{"key":"{u_escapes(key)}"}}',
    "all of it escaped, upper case": lambda key: f'{{"key":"{u_escapes(key, UPPER)}"}}',
    "escaped twice": lambda key: json.dumps({"key": f'{{"key":"{u_escapes(key)}"}}'}),
    "behind a letter that is escaped": lambda key: f'{{"name":"M\\u00FCller","key":"{key}"}}',
    "slashes escaped as in PHP": lambda key: json.dumps({"u": f"x/{key}"}).replace("/", "\\/"),
    "in an address": lambda key: f"https://x.example/?a=1&key={quote(key, safe='')}",
    "percent-encoded, lower case": lambda key: quote(f"x={key}/").replace("%3D", "%3d"),
    "percent-encoded twice": lambda key: quote(quote(f"={key}=", safe=""), safe=""),
    "in HTML": lambda key: f"<td>&quot;{key[:9]}&#x{ord(key[9]):x};{key[10:]}&quot;</td>",
    "with zero-width characters": lambda key: "\u200b".join(key),
    "with a soft hyphen": lambda key: f"{key[:7]}\u00ad{key[7:]}",
    "full width": lambda key: "".join(chr(ord(c) + 0xFEE0) if c > " " else c for c in key),
    "coloured": lambda key: colour_amid(key, "\x1b[01;31m\x1b[K", "\x1b[m\x1b[K"),
    "colours with carets": lambda key: colour_amid(key, "^[[32m", "^[[0m"),
    "colours written out": lambda key: colour_amid(key, "\\x1b[32m", "\\033[0m"),
    "colours for echo": lambda key: colour_amid(key, "\\e[1;32m", "\\e[0m"),
    "in HTML by numbers": lambda key: "".join(f"&#{ord(c)}" for c in key),
    "in HTML by padded numbers": lambda key: "".join(f"&#{ord(c):07};" for c in key),
    "in Markdown": lambda key: key.replace("_", "\\_"),
    "eight digits an escape": lambda key: "".join(f"\\U{ord(c):08x}" for c in key),
    "UTF-16": lambda key: "\0".join(key),
    "a diff": lambda key: f"@@ -1 +1 @@\n-{key}\n+nothing",
    "a diff's other side": lambda key: f"@@ -1 +1 @@\n-nothing\n+{key}",
    "grep's context": lambda key: f"config.py-12-{key}",
    "behind an underscore": lambda key: f"MY_{key}",
    "an option's value": lambda key: f"mysql -p{key} db",
    "a Windows path": lambda key: f"C:\\{key}",
}


def chat(content: Any = QUESTION, *more: Json) -> Json:
    return {"messages": [{"role": "user", "content": content}, *more]}


def responses(content: Any = QUESTION, *more: Json) -> Json:
    return {"input": [{"role": "user", "content": content}, *more]}


def messages(content: Any = QUESTION, *more: Json) -> Json:
    return chat(content, *more) | {"max_tokens": 99}


def _chat_call(arguments: str) -> Json:
    call = {"id": "call_1", "type": "function", "function": {"name": "run", "arguments": arguments}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _use(arguments: str) -> Json:
    use = {"type": "tool_use", "id": "toolu_1", "name": "run", "input": {"command": arguments}}
    return {"role": "assistant", "content": [use]}


def _result(text: Any) -> Json:
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": text}
    return {"role": "user", "content": [result]}


_CALL = {"type": "function_call", "call_id": "call_1", "name": "run", "arguments": "{}"}

TEXTS: dict[str, dict[str, Callable[[str], Json]]] = {
    "/v1/chat/completions": {
        "a message": chat,
        "a tool's result": lambda text: chat(
            QUESTION,
            _chat_call("{}"),
            {"role": "tool", "tool_call_id": "call_1", "content": text},
        ),
        "a tool's arguments": lambda text: chat(
            QUESTION,
            _chat_call(json.dumps({"command": text})),
            {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        ),
    },
    "/v1/responses": {
        "a message": responses,
        "a tool's result": lambda text: responses(
            QUESTION,
            _CALL,
            {"type": "function_call_output", "call_id": "call_1", "output": text},
        ),
        "a tool's arguments": lambda text: responses(
            QUESTION,
            _CALL | {"arguments": json.dumps({"command": text})},
            {"type": "function_call_output", "call_id": "call_1", "output": "done"},
        ),
    },
    "/v1/messages": {
        "a message": messages,
        "a tool's result": lambda text: messages(QUESTION, _use("ls"), _result(text)),
        "a tool's arguments": lambda text: messages(QUESTION, _use(text), _result("done")),
    },
}
"""By route and placement: a request that holds a text."""


def _chat_file(uri: str) -> Json:
    file = {"filename": "notes.txt", "file_data": uri}
    return chat([{"type": "text", "text": QUESTION}, {"type": "file", "file": file}])


def _responses_file(uri: str) -> Json:
    file = {"type": "input_file", "filename": "notes.txt", "file_data": uri}
    return responses([{"type": "input_text", "text": QUESTION}, file])


def _document(source: Json) -> Json:
    return messages([{"type": "text", "text": QUESTION}, {"type": "document", "source": source}])


def _encoded_document(media_type: str) -> Callable[[str], Json]:
    return lambda text: _document(
        {"type": "base64", "media_type": media_type, "data": _base64(text)}
    )


URIS: dict[str, Callable[[str], str]] = {
    "text in base64": lambda text: f"data:text/plain;base64,{_base64(text)}",
    "JSON in base64": lambda text: f"data:application/json;base64,{_base64(json.dumps([text]))}",
    "a script in base64": lambda text: f"data:text/x-python;charset=utf-8;base64,{_base64(text)}",
    "text that begins like a picture": lambda text: (
        f"data:text/plain;base64,{_base64('GIF8 is a format.' + text)}"
    ),
    "text with percents": lambda text: f"data:text/plain,{quote(text, safe='')}",
    "text with a byte that is none": lambda text: (
        "data:text/plain;base64," + base64.b64encode(text.encode() + b" \xff").decode()
    ),
}
FILES: dict[str, dict[str, Callable[[str], Json]]] = {
    "/v1/chat/completions": {
        name: (lambda text, uri=uri: _chat_file(uri(text)))  # type: ignore[misc]
        for name, uri in URIS.items()
    },
    "/v1/responses": {
        name: (lambda text, uri=uri: _responses_file(uri(text)))  # type: ignore[misc]
        for name, uri in URIS.items()
    },
    "/v1/messages": {
        "plain text": lambda text: _document(
            {"type": "text", "media_type": "text/plain", "data": text}
        ),
        "text in base64": _encoded_document("text/plain"),
        "JSON in base64": _encoded_document("application/json"),
        "a drawing": _encoded_document("image/svg+xml"),
        "blocks": lambda text: _document(
            {"type": "content", "content": [{"type": "text", "text": text}]}
        ),
    },
}
"""By route and kind: a request with a file attached that holds a text."""
