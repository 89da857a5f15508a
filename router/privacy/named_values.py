"""Secrets that are known by what stands beside them: a name, an address, a heading."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from router.privacy.key_shapes import Found, places
from router.privacy.randomness import changes, is_placeholder, looks_like_password, looks_random
from router.privacy.runs import Text

NAMED: Final = "value that is named as a secret"
AWS_SECRET: Final = "AWS secret access key"
PRIVATE_KEY: Final = "private key"

_QUOTES: Final = b"\"'` \\"
_SEPARATORS: Final = b"=:>"
_WORD: Final = re.compile(rb"[A-Za-z0-9_.-]{2,64}")
_NO_LETTERS: Final = re.compile(rb"[^a-z]+")
_SECRET_NAME: Final = re.compile(
    rb"(?:secret|password|passwd|passphrase|passwort|(?:^|[a-z])(?:pass|pwd)|credentials?"
    rb"|(?:^|auth|access|bearer|api|app|bot|id|refresh|secret|session|user|service|admin"
    rb"|personal|private|deploy|login|oauth|push|hub|lab|npm|slack|cloud|vault|jwt|sas|pat)token"
    rb"|(?:api|secret|access|private|auth|account|sign(?:ing)?|encryption|encrypt|master|service"
    rb"|license|shared|client|app(?:lication)?|admin|storage|webhook|deploy|write|user|ingest)key"
    rb"|secretkeybase|(?:^|npm|registry|docker|http)auth|dsn)\Z"
)
_PASSWORD_NAME: Final = re.compile(rb"(?:pass|pwd|password|passwd|passphrase|passwort|secret)\Z")
_ENV_NAME: Final = re.compile(
    rb"[A-Z][A-Z0-9]*_[A-Z0-9_]*(?:KEY|TOKEN|AUTH|PAT)(?:_?[0-9]{1,2})?\Z"
)
_SERVICE: Final = re.compile(
    rb"adafruit|adobe|airtable|algolia|alibaba|asana|atlassian|auth0|beamer|bitbucket"
    rb"|bittrex|braintree|brevo|cisco|cloudflare|cloudinary|codecov|cohere|coinbase|confluen"
    rb"|contentful|datadog|deepgram|discord|drone|dropbox|elastic|etsy|facebook|fastly"
    rb"|finicity|finnhub|firebase|flickr|freshbooks|freshdesk|gemini|gitea|github|gitlab|gitter"
    rb"|grafana|heroku|honeycomb|hubspot|intercom|jenkins|jfrog|artifactory|jira|kraken"
    rb"|kucoin|launchdarkly|linear|linkedin|looker|mailchimp|mailgun|mandrill|mapbox|mattermost"
    rb"|meraki|messagebird|mistral|mixpanel|mongo|netlify|new[_-]?relic|nytimes|okta|openai"
    rb"|opsgenie|pagerduty|paypal|pinecone|plaid|postmark|privateai|rapidapi|redis|rollbar"
    rb"|segment|sendbird|sendgrid|sentry|shopify|slack|snyk|sonar|spotify|square|stripe|sumo"
    rb"|supabase|telegram|travis|trello|twilio|twitch|twitter|typeform|vercel|webex|yandex"
    rb"|zendesk|zoom"
)
_OF_SERVICE: Final = re.compile(rb"(?:key|token|secret|auth|login|pat|password)\Z")
_NOT_SECRET: Final = re.compile(
    rb"(?:client|request|idempotency)[_.-]?token|public|primary|foreign|cache|sort|partition"
    rb"|next|page|csrf|xsrf|continuation|sync"
    rb"|cursor|translation|(?:^|_)pk|hash|digest|fingerprint|checksum|integrity|version|commit"
)
_PAIR: Final = re.compile(
    rb"(?:name|key)[\"']?\s{0,3}[:=]\s{0,3}[\"']?([A-Za-z0-9_.-]{2,64})[\"']?[,;]?\s{1,40}[\"']?\Z",
    re.IGNORECASE,
)
_VALUE: Final = re.compile(rb"[^\s\"'`<>,;(){}\[\]|\\$]{8,300}")
_EXPRESSION: Final = (b"(", b"[", b"{", b"$")
_ATTRIBUTE: Final = re.compile(rb"\Aarn:|\.[A-Za-z_]{4}")
_COLON: Final = ord(":")
_DIGIT: Final = re.compile(rb"[0-9]")
_NAME_REACH: Final = 80
_PAIR_REACH: Final = 160
_BASE64: Final = bytes(byte for byte in range(128) if chr(byte).isalnum()) + b"+/"
_BASE64_BACK: Final = re.compile(rb"[A-Za-z0-9+/]{1,160}")


def values_in(where: Text) -> Iterator[Found]:
    """Find the secrets of a text."""
    text = where.data
    last_end = 0
    for start, end in where.likely:
        before, between = text[start - 1 : start], text[last_end:start]
        last_end = end
        if before in _STARTS_VALUE:
            yield from _named(text, start)
        elif before in (b"+", b"/") and (len(between) > 40 or between.translate(None, _BASE64)):
            # The first run of a value in base64, which begins before it.
            back = _BASE64_BACK.match(text[max(0, start - 160) : start][::-1])
            at = start - (back.end() if back else 0)
            if text[at - 1 : at] in _STARTS_VALUE:
                yield from _named(text, at)
    lower, near = text.lower(), where.near.lower()
    for heading in _HEADINGS:
        if not heading.is_near_run or heading.anchor in near:
            for at in places(lower, heading.anchor):
                yield from heading.find(text, at)


_STARTS_VALUE: Final = frozenset((b"=", b":", b'"', b"'", b"`", b" ", b">"))


def _named(text: bytes, at: int) -> Iterator[Found]:
    """Find the value that begins here, if what stands before it names it as a secret."""
    head = text[max(0, at - _NAME_REACH) : at].rstrip(_QUOTES)
    if not head or head[-1] not in _SEPARATORS:
        return
    is_colon = head[-1] == _COLON
    head = head.rstrip(b"=:> \t").rstrip(b"\"'`] ")
    word = _WORD.match(head[::-1])
    if word is None or (is_colon and head[: -word.end()].endswith(b":")):
        return  # no name, or a part of one, as in `arn:aws:secretsmanager:...:secret:...`
    name = word.group()[::-1]
    if name.lower() == b"value":
        upto = at - _NAME_REACH + len(head) if at > _NAME_REACH else len(head)
        pair = _PAIR.search(text, max(0, upto - len(name) - _PAIR_REACH), upto - len(name))
        if pair is None:
            return
        name = pair[1]
    if not names_a_secret(name):
        return
    value = _VALUE.match(text, at)
    if value is None or text[value.end() : value.end() + 1] in _EXPRESSION:
        return
    letters = _letters(name)
    is_password = (
        _PASSWORD_NAME.search(letters) or _ENV_NAME.search(name) or _SERVICE.search(letters)
    )
    if _is_secret(value.group(), is_password=is_password is not None):
        rule = AWS_SECRET if letters.endswith(b"secretaccesskey") else NAMED
        yield Found(rule, value.start(), value.end())


@lru_cache(maxsize=1024)
def names_a_secret(name: bytes) -> bool:
    """Return whether a variable of this name holds a secret: `apiKey`, `DB_PASS`, `NAME_KEY`."""
    letters = _letters(name)
    if _NOT_SECRET.search(name.lower()):
        return False
    return (
        _SECRET_NAME.search(letters) is not None
        or _ENV_NAME.search(name) is not None
        or (_OF_SERVICE.search(letters) is not None and _SERVICE.search(letters) is not None)
    )


def _letters(name: bytes) -> bytes:
    return _NO_LETTERS.sub(b"", name.lower())


def _is_secret(value: bytes, *, is_password: bool) -> bool:
    text = value.decode("latin-1").rstrip(".,")
    if is_placeholder(text) or "://" in text or _ATTRIBUTE.search(value):
        return False
    if len(text) >= (16 if is_password else 20) and _is_random(value):
        return True
    return (is_password or len(text) >= 24) and looks_like_password(text)


def _is_random(value: bytes) -> bool:
    """Return whether a value is no word; names of classes have capitals, but no digits."""
    return _DIGIT.search(value) is not None and changes(value) >= 4 and looks_random(value, 6)


# --- secrets that are found by a heading ----------------------------------------------------------

_LOGIN: Final = re.compile(rb"://([^\s/:@\"'<>`]{0,80}):([^\s/@\"'<>`]{4,200})@[A-Za-z0-9\[]")
_SENT: Final = re.compile(
    rb"earer\\?[ \t]{1,3}[\"'`]?([A-Za-z0-9._~+/=-]{16,600})|"
    rb"uthorization[\"']?\s{0,3}[:=,]\s{0,3}[\"'`]?[A-Za-z-]{3,12} "
    rb"([A-Za-z0-9._~+/=:-]{16,600})"
)
_ASSIGNED: Final = re.compile(
    rb"[A-Za-z0-9_.-]{0,40}[\"']?[ \t]{0,3}(=>|:=|[=:])[ \t]{0,3}"
    rb"(?:\"([^\"\s]{8,200})\"|'([^'\s]{8,200})'|"
    rb"([^\s\"'`,;<>(){}\[\]|\\]{8,200})(?![^\s;]))"
)
_NAME_END: Final = re.compile(rb"[\"'\s=:]")
_REFERENCE: Final = re.compile(r"\A[$%@]|\$[{(]|\{.*\}|\(.*\)|\A[A-Za-z_.]+\[")
_NETRC: Final = re.compile(rb"password[ \t\n]{1,4}(\S{4,200})")
_NETRC_LOGIN: Final = re.compile(
    rb"(?:machine[ \t\n]{1,4}\S{1,60}|default)\s{1,4}login\s{1,4}\S{1,60}\s{1,8}\Z"
)
_USER: Final = re.compile(rb"\s(?:-u|--user)[ =][\"']?[^\s:\"']{1,80}:([^\s\"']{6,200})")
_PEM: Final = re.compile(rb"PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!-)){0,200}?[A-Za-z0-9+/]{40}")
_PUTTY: Final = re.compile(rb"Private-Lines: ?[0-9]{1,3}\s{1,4}[A-Za-z0-9+/]{40}")
_PEM_IN_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4}){15,30}")
_SIGNATURE: Final = re.compile(rb"sig=[A-Za-z0-9%+/_-]{40,120}(?:=|%3[Dd])")


class _Heading(NamedTuple):
    """How the secrets behind a piece of text, in lower case, are found."""

    anchor: bytes
    find: Callable[[bytes, int], Iterator[Found]]
    is_near_run: bool = False
    """Is the secret a run, so that the heading is looked for near runs only?"""


def _login(text: bytes, at: int) -> Iterator[Found]:
    """Find a password in an address."""
    if (found := _LOGIN.match(text, at)) is not None:
        password = found[2].decode("latin-1")
        if not _REFERENCE.search(password) and _is_login(password):
            yield Found("password in an address", found.start(2), found.end(2))


def _is_login(password: str) -> bool:
    has_digit = any(character.isdigit() for character in password)
    return len(password) >= 6 and has_digit and looks_like_password(password, kinds=2)


def _sent(text: bytes, at: int) -> Iterator[Found]:
    """Find what an Authorization header sends."""
    if (found := _SENT.match(text, at)) is None:
        return
    group = 1 if found[1] else 2
    value = found[group]
    if is_placeholder(value.decode("latin-1")):
        return
    if _is_random(value) and not _is_manuals_login(value):
        yield Found("Authorization header", found.start(group), found.end(group))


def _is_manuals_login(value: bytes) -> bool:
    """Return whether a value is the base64 of a login as it stands in manuals."""
    try:
        user, colon, password = base64.b64decode(value, validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return False
    text = password.decode("latin-1")
    return bool(colon) and user.isascii() and text.isprintable() and not _is_login(text)


def _assigned(text: bytes, at: int) -> Iterator[Found]:
    """Find a password of any characters behind its name."""
    found = _ASSIGNED.match(text, at)
    if found is None:
        yield from _netrc(text, at)
        return
    group = found.lastindex or 0
    start, end = found.span(group)
    word = _WORD.match(text[max(0, at - 40) : at][::-1])
    begin = at - (word.end() if word else 0)
    if text[begin - 1 : begin] == b":" and found[1] == b":":
        return  # a part of a name, as above
    name = text[begin:at] + _NAME_END.split(found.group(), maxsplit=1)[0]
    value = found[group].decode("latin-1")
    is_code = _REFERENCE.search(value) or _ATTRIBUTE.search(found[group])
    if names_a_secret(name) and looks_like_password(value) and not is_code:
        yield Found(NAMED, start, end)


def _netrc(text: bytes, at: int) -> Iterator[Found]:
    """Find the password of a line `machine ... login ... password ...` in a netrc file."""
    found = _NETRC.match(text, at)
    is_login = found and _NETRC_LOGIN.search(text, max(0, at - 2 * _NAME_REACH), at)
    if found and is_login and _is_login(found[1].decode("latin-1")):
        yield Found("password in a netrc file", found.start(1), found.end(1))


def _matching(
    rule: str, pattern: re.Pattern[bytes], group: int = 0
) -> Callable[[bytes, int], Iterator[Found]]:
    def find(text: bytes, at: int) -> Iterator[Found]:
        found = pattern.match(text, at)
        if found and (group == 0 or _is_login(found[group].decode("latin-1"))):
            yield Found(rule, found.start(group), found.end(group))

    return find


def _encoded(text: bytes, at: int) -> Iterator[Found]:
    """Find a private key that is in base64 once more, as a kubeconfig has it."""
    found = _PEM_IN_BASE64.match(text, at)
    if found and b"PRIVATE KEY" in base64.b64decode(found.group()):
        yield Found(PRIVATE_KEY, found.start(), found.end())


def _curl(text: bytes, at: int) -> Iterator[Found]:
    found = _USER.search(text, at, at + 400)
    if found is not None and _is_login(found[1].decode("latin-1")):
        yield Found("password of a command", found.start(1), found.end(1))


_HEADINGS: Final = (
    _Heading(b"://", _login),
    _Heading(b"earer", _sent, is_near_run=True),
    _Heading(b"uthorization", _sent, is_near_run=True),
    *(_Heading(word, _assigned) for word in (b"pass", b"pwd", b"secret")),
    _Heading(b"curl ", _curl),
    _Heading(b"private key", _matching(PRIVATE_KEY, _PEM)),
    _Heading(b"private-lines:", _matching(PRIVATE_KEY, _PUTTY)),
    _Heading(b"ls0tls1crudjti", _encoded, is_near_run=True),
    _Heading(b"sig=", _matching("Azure shared access signature", _SIGNATURE), is_near_run=True),
)
