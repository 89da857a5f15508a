"""Requests in the three dialects that hold a text somewhere, and ways to spell a text."""

import base64
import json
import quopri
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


def cut(key: str, joint: str, before: str = "", behind: str = "") -> str:
    """A key in two pieces, with something between them and around both."""
    return f"{before}{key[:12]}{joint}{key[12:]}{behind}"


def _in_file_of_docker(key: str) -> str:
    login = {"auths": {"registry.example": {"auth": _base64(f"me:{key}")}}}
    return f".dockerconfigjson: {_base64(json.dumps(login))}"


def _in_wrapped_base64(key: str) -> str:
    text = "NAME=value\n" * 20 + f"KEY={key}\n" + "NAME=value\n" * 20
    return f"$ base64 .env\n{base64.encodebytes(text.encode()).decode()}That was all of it."


CODES: dict[str, Callable[[str], str]] = {
    "data of Kubernetes": lambda key: f"kind: Other\ndata:\n  key: {_base64(key)}\n",
    "a login for HTTP": lambda key: f"Authorization: Basic {_base64(f'me:{key}')}",
    "a login in a file of Docker": _in_file_of_docker,
    "base64 over many lines": _in_wrapped_base64,
    "base64 for addresses": lambda key: (
        "see ?state=" + base64.urlsafe_b64encode(f"to?>~ {key}".encode()).decode()
    ),
    "base64 of UTF-16": lambda key: (
        "powershell -enc " + base64.b64encode(f"$k='{key}'".encode("utf-16-le")).decode()
    ),
    "hexadecimal": lambda key: f"$ xxd -p key\n{key.encode().hex()}\n",
    "bytes of PostgreSQL": lambda key: f"'\\x{key.encode().hex()}'",
    "quoted-printable": lambda key: quopri.encodestring(
        f"Grüße, key = {key}; and so that it is long enough, more words".encode()
    ).decode(),
    "quoted-printable, each letter": lambda key: "".join(f"={ord(c):02X}" for c in key),
}
"""Texts in which a key stands in another encoding."""

PIECES: dict[str, Callable[[str], str]] = {
    "the end of a line": lambda key: cut(key, "\n", "the key is ", " as you said"),
    "the end of a line of Windows": lambda key: cut(key, "\r\n    "),
    "the end of a line, and a word behind": lambda key: cut(key, "\n", "see ", "\nThanks"),
    "an answer to a mail": lambda key: cut(key, "\n> ", "> it is "),
    "a comment": lambda key: cut(key, "\n# ", "# KEY "),
    "a soft end of a line": lambda key: cut(key, "=\n"),
    "an escaped end of a line": lambda key: cut(key, "\\\n", "export KEY="),
    "three lines": lambda key: "\n".join((key[:9], key[9:24], key[24:])),
    "a box in a terminal": lambda key: cut(key, "  │\n│ ", "│ KEY=", "      │"),
    "a box drawn with bars": lambda key: cut(key, " |\n | ", "| the key is ", " |"),
    "a mark of a search in HTML": lambda key: cut(key, "</em>", "<td><em>", "</td>"),
    "colours in HTML": lambda key: cut(key, "</span><span class='s'>", "<span>", "</span>"),
    "a place for a break in HTML": lambda key: cut(key, "<wbr>", "<p>", "</p>"),
    "two strings that are added": lambda key: cut(key, '" + "', 'k = "', '"'),
    "two strings over two lines": lambda key: cut(key, '" +\n    "', 'k = "', '";'),
    "two strings side by side": lambda key: cut(key, '"\n     f"', 'k = ("', '")'),
    "two strings of PHP": lambda key: cut(key, "' . '", "$k = '", "';"),
    "two strings of SQL": lambda key: cut(key, "' || '", "SELECT '", "'"),
    "two strings of Visual Basic": lambda key: cut(key, '" & _\n "', 'k = "', '"'),
}
"""Texts in which a key stands in pieces."""

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
    "octal escapes": lambda key: "".join(f"\\{ord(c):03o}" for c in key),
    "escapes of JavaScript": lambda key: "".join(f"%u{ord(c):04x}" for c in key),
    "tag characters": lambda key: "Hi" + "".join(chr(0xE0000 + ord(c)) for c in key),
    "letters struck over": lambda key: "".join(f"{c}\b{c}" for c in key),
    "underlined with backspaces": lambda key: "".join(f"_\b{c}" for c in key),
    "a control character": lambda key: f"{key[:7]}\x01{key[7:]}",
    "an empty cell of Braille": lambda key: f"{key[:7]}\u2800{key[7:]}",
    **CODES,
    **PIECES,
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
