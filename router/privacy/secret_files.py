"""Reads the user's secrets from `.env`, JSON and YAML files."""

import codecs
import os
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Final

import orjson
from dotenv.parser import parse_stream

from router.privacy.randomness import looks_like_password

SHORTEST_SECRET: Final = 16
SHORTEST_PASSWORD: Final = 8
"""Least length of a value with characters of three kinds, which is no word."""

_NAMED_AS_SECRET: Final = re.compile(
    r"(?:key|token|secret|pass|passw(?:or)?d|passphrase|pwd|credentials?|dsn|auth|pat)(?:_?\d{1,2})?\Z"
    r"|key_?base\Z|database_?url\Z",
    re.IGNORECASE,
)
_REFERENCE: Final = re.compile(r"\$\{?\w+\}?|<.*>|(.)\1{5,}.*")
_FILLER_WORDS: Final = """
    your you my the a an this that with it me to of in is be api app access auth key keys r
    token tokens secret secrets password pass here goes go there real actual own new value r
    change changeme replace insert enter paste put add set fill openai anthropic gemini r google
    claude github needed required please optional none not no sk
"""
_FILLERS: Final = frozenset(_FILLER_WORDS.split())
_LOGIN: Final = re.compile(r"://[^/\s:@]{0,100}:([^@\s/]{4,200})@")
_ODD_LINE: Final = re.compile(
    r"""(?m)^[ \t]*(?:export[ \t]+)?([\w.-]+)[ \t]*[=:][ \t]*["']?([^\s"']+)"""
)
_YAML_LINE: Final = re.compile(r"""([ ]*)(?:-[ ]+)?["']?([\w.-]+)["']?[ ]*:(?:[ ]+(.*))?\Z""")


def read_values(path: Path) -> dict[str, list[str]]:
    """Read the values of a file by their names. Raises OSError, ValueError on what is no text."""
    if path.is_dir():
        raise IsADirectoryError
    suffix = path.suffix.lower()
    if suffix == ".json":
        pairs = _of_json(orjson.loads(_text_of(path)))
    elif suffix in (".yaml", ".yml"):
        pairs = _of_yaml(_text_of(path))
    else:
        pairs = _of_dotenv(_text_of(path))
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found


def _of_dotenv(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values, also of lines that set nothing: `NAME: value` or an open quote."""
    for binding in parse_stream(StringIO(text)):
        if binding.key is not None and binding.value:
            yield binding.key, binding.value
        elif binding.error:
            yield from _ODD_LINE.findall(binding.original.string)


def _text_of(path: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Latin-1."""
    raw = path.read_bytes()
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return raw.decode("utf-16")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def secrets_of(values: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Pick the values that are secrets: name and value."""
    for name, given in values.items():
        for value in given:
            if _NAMED_AS_SECRET.search(name) and is_secret(value):
                yield name, value
            if (login := _LOGIN.search(value)) is not None and is_secret(login[1]):
                yield name, login[1]


def is_secret(value: str) -> bool:
    """Return whether a value is a secret and not a placeholder, if its variable is named as one."""
    if len(value) < SHORTEST_SECRET and not (
        len(value) >= SHORTEST_PASSWORD and looks_like_password(value)
    ):
        return False
    if _REFERENCE.fullmatch(value) or is_filler(value):
        return False
    # `SSL_KEY=/etc/ssl/server.key` names a file; that name is in every listing of the folder.
    return not (value[0] in "/.~" and os.path.exists(os.path.expanduser(value)))


def is_filler(value: str) -> bool:
    """Return whether a value is a placeholder in words: `your-key-goes-here`, `change_me`."""
    if not value.isascii() or any(character.isdigit() for character in value):
        return False
    return _FILLERS.issuperset(re.findall("[a-z]+", value.lower()))


def _of_json(document: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a document by the names they have there."""
    match document:
        case str():
            yield name, document
        case list():
            for item in document:
                yield from _of_json(item, name)
        case {"name": str(named), "value": str(value)}:
            yield named, value
        case dict():
            for key, value in document.items():
                yield from _of_json(value, key)


def _of_yaml(text: str) -> Iterator[tuple[str, str]]:
    """Yield names and values: of `name: value` lines, text blocks, and lists of such pairs."""
    named, block_indent, block_name = "", -1, ""
    for line in text.splitlines():
        found = _YAML_LINE.fullmatch(line.rstrip())
        indent = len(line) - len(line.lstrip(" "))
        if block_name and (not line.strip() or indent > block_indent):
            if line.strip():
                yield block_name, line.strip()
            continue
        block_name = ""
        if found is None:
            continue
        name, value = found[2], _yaml_value(found[3] or "")
        if value[:1] in ("|", ">"):
            block_indent, block_name = indent, name
        elif name.lower() in ("name", "key"):
            named = value
        else:
            yield (named if name.lower() == "value" and named else name), value


def _yaml_value(written: str) -> str:
    """Return a value without its quotes, or without a comment behind it."""
    written = written.strip()
    if len(written) > 1 and written[0] in "\"'":
        end = written.find(written[0], 1)
        while end > 0 and written[end - 1] == "\\":
            end = written.find(written[0], end + 1)
        inner = written[1:end] if end > 0 else written[1:]
        if written[0] == '"':
            return inner.replace('\\"', '"').replace("\\\\", "\\")
        return inner
    return written.partition(" #")[0].strip()
