"""Secrets that are known by what stands beside them: a name, an address, a heading."""

import base64
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from router.privacy.key_shapes import Found
from router.privacy.randomness import is_name, is_placeholder, looks_like_password
from router.privacy.runs import STARTS_VALUE, Text
from router.privacy.secret_names import Names, named
from router.privacy.secret_values import is_login, is_named_secret, is_random, login_in_base64

NAMED: Final = "value that is named as a secret"
AWS_SECRET: Final = "AWS secret access key"
PRIVATE_KEY: Final = "private key"

_NAME_REACH: Final = 112
_NAMED: Final = re.compile(
    rb"(?:[\"'`\\\s(]{0,40}(?:([=:>|])[=:?.|> ]{0,3}|(?<=\s)(?:si|saw|-)(?=\s))[\"'`\]) \t\\]{0,6}"
    rb"|([\"'`]\\?\s{0,3},\s?\\?[\"'`]))([A-Za-z0-9_.-]{2,64})(:?)(?(2)\\?[\"'`]\s{0,3}[({])"
)
"""The text before a value, read backwards: quotes, `=`, `:`, `=>` or `is`, and a name; or a
comma and a name as in `set("name", "value")`."""
_TAIL: Final = 16
_END_OF_NAME: Final = re.compile(
    rb"(?i:key|token|pass\w{0,5}|pwd|auth|dsn|pat|secret|creds?|credentials?|login|id|base|value)"
    rb"[0-9_]{0,3}(?:[^A-Za-z0-9]+(?:is|was))?[^A-Za-z0-9]*\Z|\A[^A-Za-z0-9]*\Z"
)
_WORDS_BEFORE: Final = re.compile(rb"(?<![A-Za-z0-9_-])(?:[A-Za-z0-9_-]{2,20} ){1,2}\Z")
_WORDS_REACH: Final = 44
"""Before a name of several words, as in `our Acme API key is ...`."""
_NAME_BEHIND: Final = re.compile(
    rb"[\"'`]? (?:\(|(?:is|was|as) )(?:(?:the|my|our|your|an?) )?"
    rb"((?:[A-Za-z0-9]{2,20}[ _-]){0,3}(?i:key|token|secret|password))"
    rb"(?=[).,;:!?\n]|\Z| (?:for|of|to|from|and|in)\b)"
)
"""`VALUE (Acme API key)`, `VALUE is my token for ...`."""
_PAIR_REACH: Final = 160
_PAIR: Final = re.compile(
    rb"(?:name|key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?([A-Za-z0-9_.-]{2,64})[\"']?[,;]?\s{1,40}[\"']?\Z",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(rb"[^\s\"'`<>,;(){}\[\]|\\$]{8,300}")
_EXPRESSION: Final = (b"(", b"[", b"{", b"$")
_BASE64: Final = bytes(byte for byte in range(128) if chr(byte).isalnum()) + b"+/"
_BASE64_BACK: Final = re.compile(rb"[A-Za-z0-9+/]{1,160}")


def values_in(where: Text) -> Iterator[Found]:
    """Find the secrets of a text."""
    text = where.data
    last_end = 0
    for start, end in where.likely:
        before, between = text[start - 1 : start], text[last_end:start]
        last_end = end
        if not start or before[0] in STARTS_VALUE:
            yield from _named(text, start)
            yield from _named_behind(text, start, end)
        elif before in (b"+", b"/") and (len(between) > 40 or between.translate(None, _BASE64)):
            # The first run of a value in base64, which begins before it.
            back = _BASE64_BACK.match(text[max(0, start - 160) : start][::-1])
            at = start - (back.end() if back else 0)
            if at and text[at - 1] in STARTS_VALUE:
                yield from _named(text, at)
    for start, end in where.hexadecimal:
        yield from _named(text, start)
        yield from _named_behind(text, start, end)
    lower, near = text.lower(), where.beside.lower()
    for heading in _HEADINGS:
        if not heading.is_near_run or heading.pattern.search(near):
            searched = text if heading.is_exact else lower
            for place in heading.pattern.finditer(searched):
                yield from heading.find(text, place.start())


def _named(text: bytes, at: int) -> Iterator[Found]:
    """Find the value that begins here, if what stands before it names it as a secret."""
    if not _may_be_named(text[max(0, at - _TAIL) : at]):
        return
    begin = max(0, at - _NAME_REACH)
    before = _NAMED.match(text[begin:at][::-1])
    if before is None or (before[1] == b":" and before[4]):
        return  # no name, or a part of one, as in `arn:aws:secretsmanager:...:secret:...`
    name = before[3][::-1].decode("ascii")
    name_at = at - before.end(3)
    if name.lower() == "value":
        pair = _PAIR.search(text, max(0, name_at - _PAIR_REACH), name_at)
        if pair is None:
            return
        name = pair[1].decode("ascii")
    sure = _sureness(name, _WORDS_BEFORE.search(text, max(0, name_at - _WORDS_REACH), name_at))
    if sure is Names.NOTHING:
        return
    value = _VALUE.match(text, at)
    if value is None or text[value.end() : value.end() + 1] in _EXPRESSION:
        return
    if is_named_secret(value.group(), sure):
        is_aws = name.lower().replace("_", "").endswith("secretaccesskey")
        yield Found(AWS_SECRET if is_aws else NAMED, value.start(), value.end())


def _sureness(name: str, words: re.Match[bytes] | None) -> Names:
    """Return how sure a name says that a value is a secret, in prose with the words before it."""
    alone = named(name)
    if words is None:
        return alone
    whole = named("_".join([*words.group().decode("ascii").split(), name]))
    # A word such as `public` says that it is none, whatever comes behind it.
    return Names.NOTHING if alone and not whole else max(alone, whole)


def _named_behind(text: bytes, start: int, end: int) -> Iterator[Found]:
    """Find a value whose name comes behind it, as in `VALUE is my API key`."""
    behind = _NAME_BEHIND.match(text, end)
    if behind is None:
        return
    sure = named(re.sub(r"[ -]", "_", behind[1].decode("ascii")))
    if sure is not Names.NOTHING and is_named_secret(text[start:end], sure):
        yield Found(NAMED, start, end)


@lru_cache(maxsize=4096)
def _may_be_named(tail: bytes) -> bool:
    """Return whether text with this end can name a secret. Cached: lock files repeat it often."""
    return _END_OF_NAME.search(tail) is not None


# --- secrets that are found by a heading ----------------------------------------------------------

_LOGIN: Final = re.compile(rb"://([^\s/:@\"'<>`]{0,80}+):([^\s/@\"'<>`]{4,200}+)@[A-Za-z0-9\[]")
_SENT: Final = re.compile(
    rb"earer\\?[ \t]{1,3}[\"'`]?([A-Za-z0-9._~+/=-]{16,600})|"
    rb"uthorization[\"']?\s{0,3}[:=,]\s{0,3}[\"'`]?[A-Za-z-]{3,12} "
    rb"([A-Za-z0-9._~+/=:-]{16,600})"
)
_ASSIGNED: Final = re.compile(
    rb"[A-Za-z0-9_.-]{0,40}+[\"']?[ \t]{0,3}(?:value[ \t]{0,3})?(=>|:=|[=:])[ \t]{0,3}"
    rb"(?:\"([^\"\s]{8,200})\"|'([^'\s]{8,200})'|"
    rb"([^\s\"'`,;<>(){}\[\]|\\]{8,200})(?![^\s;]))"
)
_NAME: Final = re.compile(rb"[A-Za-z0-9_.-]{2,64}")
_NAME_END: Final = re.compile(rb"[\"'\s=:]")
_REFERENCE: Final = re.compile(r"\A[$%@]|\$[{(]|\{.*\}|\(.*\)|[a-z]{3}\(|\A[A-Za-z_.]+\[")
_NETRC: Final = re.compile(rb"password[ \t\n]{1,4}(\S{4,200})")
_NETRC_LOGIN: Final = re.compile(
    rb"(?:machine[ \t\n]{1,4}\S{1,60}|default)\s{1,4}login\s{1,4}\S{1,60}\s{1,8}\Z"
)
_USER: Final = re.compile(rb"\s(?:-u|--user)[ =][\"']?[^\s:\"']{1,80}:([^\s\"']{6,200})")
_LONGEST_COMMAND: Final = 400
_TWO_LINES: Final = (
    rb"[A-Za-z0-9+/]{40}[A-Za-z0-9+/]{0,60}(?:[\s\\n\"',]{1,12}[A-Za-z0-9+/]{16,76})?"
)
"""Two lines of a private key: the first one is often the same for all keys of a size."""
_PRIVATE_KEY: Final = re.compile(
    rb"(?:PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!-)){0,200}?|Private-Lines: ?[0-9]{1,3}\s{1,4})"
    + _TWO_LINES
)
"""In PEM, or as PuTTY writes it."""
_LONGEST_KIND: Final = 16
"""Of a kind of private key, with the word before it: `-END ENCRYPTED`."""
_PEM_IN_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4}){15,30}")
_SIGNATURE: Final = re.compile(rb"sig=[A-Za-z0-9%+/_-]{40,120}(?:=|%3[Dd])")


_KIND: Final = re.compile(rb"kind[\"']?:\s{0,4}[\"']?\Z")
_SECRET_REACH: Final = 800
_SECRET_DATA: Final = re.compile(rb"[dD]ata[\"']?:[ {]{0,4}\n(?:[ \t]{1,12}[^\n]{1,400}\n?){1,20}")
_SECRET_ENTRY: Final = re.compile(
    rb"[A-Za-z0-9_.-][\"']?:\s{1,12}[\"']?([A-Za-z0-9+/]{8,380}={0,2})[\"',]{0,2}[ \t]*(?:\n|\Z)"
)


class _Heading(NamedTuple):
    """A pattern for where a kind of secret may begin, and the function that finds it there."""

    pattern: re.Pattern[bytes]
    """Begins with a literal, so that a search takes little time."""
    find: Callable[[bytes, int], Iterator[Found]]
    is_near_run: bool = False
    """The secret is a run, so the heading is searched near runs only."""
    is_exact: bool = False
    """The pattern has capitals, so it is searched in the text as it is written. Other patterns are
    searched in the text in lower case."""


def _login(text: bytes, at: int) -> Iterator[Found]:
    """Find a password in an address."""
    if (found := _LOGIN.match(text, at)) is not None:
        password = found[2].decode("latin-1")
        if not _REFERENCE.search(password) and is_login(password):
            yield Found("password in an address", found.start(2), found.end(2))


def _sent(text: bytes, at: int) -> Iterator[Found]:
    """Find what an Authorization header sends."""
    if (found := _SENT.match(text, at)) is None:
        return
    group = 1 if found[1] else 2
    value = found[group]
    if is_placeholder(value.decode("latin-1")):
        return
    if is_random(value) and login_in_base64(value) is not False:
        yield Found("Authorization header", found.start(group), found.end(group))


def _assigned(text: bytes, at: int) -> Iterator[Found]:
    """Find a password of any characters behind its name."""
    found = _ASSIGNED.match(text, at)
    if found is None:
        yield from _netrc(text, at)
        return
    group = found.lastindex or 0
    start, end = found.span(group)
    word = _NAME.match(text[max(0, at - 40) : at][::-1])
    begin = at - (word.end() if word else 0)
    if text[begin - 1 : begin] == b":" and found[1] == b":":
        return  # a part of a name, as above
    name = text[begin:at] + _NAME_END.split(found.group(), maxsplit=1)[0]
    value = found[group].decode("latin-1")
    is_code = _REFERENCE.search(value) or is_name(value) or value.startswith("arn:")
    if is_code or not named(name.decode("ascii")):
        return
    if looks_like_password(value) and login_in_base64(found[group]) is not False:
        yield Found(NAMED, start, end)


def _netrc(text: bytes, at: int) -> Iterator[Found]:
    """Find the password of a line `machine ... login ... password ...` in a netrc file."""
    found = _NETRC.match(text, at)
    if (
        found is not None
        and _NETRC_LOGIN.search(text, max(0, at - _PAIR_REACH), at)
        and is_login(found[1].decode("latin-1"))
    ):
        yield Found("password in a netrc file", found.start(1), found.end(1))


def _matching(
    rule: str, pattern: re.Pattern[bytes], group: int = 0
) -> Callable[[bytes, int], Iterator[Found]]:
    def find(text: bytes, at: int) -> Iterator[Found]:
        found = pattern.match(text, at)
        if found and (group == 0 or is_login(found[group].decode("latin-1"))):
            yield Found(rule, found.start(group), found.end(group))

    return find


def _private_key(text: bytes, at: int) -> Iterator[Found]:
    """Find a private key behind its first line, unlike what stands behind its last line."""
    found = _PRIVATE_KEY.match(text, at)
    if found and b"-END " not in text[max(0, at - _LONGEST_KIND) : at]:
        yield Found(PRIVATE_KEY, found.start(), found.end())


def _encoded(text: bytes, at: int) -> Iterator[Found]:
    """Find a private key that is in base64 once more, as a kubeconfig has it."""
    found = _PEM_IN_BASE64.match(text, at)
    if found and b"PRIVATE KEY" in base64.b64decode(found.group()):
        yield Found(PRIVATE_KEY, found.start(), found.end())


def _secret(text: bytes, at: int) -> Iterator[Found]:
    """Find a secret of any characters behind its name, or the values of a Kubernetes `Secret`."""
    is_kind = _KIND.search(text, max(0, at - 16), at) is not None
    yield from (_kubernetes if is_kind else _assigned)(text, at)


def _kubernetes(text: bytes, at: int) -> Iterator[Found]:
    """Find the values of a Secret of Kubernetes, which are in base64."""
    start = max(0, at - _SECRET_REACH)
    for data in _SECRET_DATA.finditer(text, start, at + _SECRET_REACH):
        for entry in _SECRET_ENTRY.finditer(data.group()):
            value = entry[1]
            if login_in_base64(value) or (login_in_base64(value) is None and is_random(value)):
                begin = data.start() + entry.start(1)
                yield Found("Kubernetes secret", begin, begin + len(value))


def _curl(text: bytes, at: int) -> Iterator[Found]:
    end = at + _LONGEST_COMMAND
    if b"-u" not in text[at:end]:
        return
    found = _USER.search(text, at, end)
    if found is not None and is_login(found[1].decode("latin-1")):
        yield Found("password of a command", found.start(1), found.end(1))


_HEADINGS: Final = (
    _Heading(re.compile(b"://"), _login, is_exact=True),
    _Heading(re.compile(b"earer"), _sent, is_near_run=True),
    _Heading(re.compile(b"uthorization"), _sent, is_near_run=True),
    _Heading(re.compile(b"p(?:ass|wd)"), _assigned),
    _Heading(re.compile(b"secret"), _secret),
    _Heading(re.compile(b"curl "), _curl),
    _Heading(
        re.compile(rb"P(?:RIVATE KEY|rivate-Lines:)"),
        _private_key,
        is_exact=True,
    ),
    _Heading(re.compile(b"ls0tls1crudjti"), _encoded, is_near_run=True),
    _Heading(
        re.compile(b"sig="),
        _matching("Azure shared access signature", _SIGNATURE),
        is_near_run=True,
    ),
)
