"""Telling random characters from words, so that names and placeholders are not taken for keys."""

import re
from itertools import pairwise
from typing import Final

_PLACEHOLDER: Final = re.compile(
    r"example|sample|dummy|placeholder|redacted|(?:change|replace|insert)[-_ ]?(?:me|it|this|with)"
    r"|your[-_ ]|[-_ ]here\b|put[-_ ]your|<[^>]*>|\.\.\.|\*\*\*|eyJzdWIiOiIxMjM0NTY3ODkwI"
    r"|Eby8vdM02xN|2YotnFZFEjr1z|tGzv3JOkF0XG5|SplxlOBeZQQY|czZCaGRSa3F0|eyJzb21lIjoicGF5bG9hZCJ",
    re.IGNORECASE,
)
"""`<your key>`, `xxxxxxxx`, `AKIA...EXAMPLE`; the web tokens of all tutorials, the account of
Azure's emulator, and the tokens of RFC 6749."""
_REPEATED: Final = re.compile(r"([A-Za-z0-9])\1{5,}")
_COMMON: Final = re.compile(
    r"pass|word|secret|admin|test|user|root|guest|qwert|letmein|welcome|foo|bar|abc|demo|default"
    r"|login|hello|postgres|mysql|redis|rabbit|mongo|oracle|tiger|token|key",
    re.IGNORECASE,
)
"""Words that passwords in manuals are made of."""
_LEET: Final = str.maketrans("013457@$!", "oleastasi")
_WORD: Final = re.compile("[A-Za-z][a-z]{4}")
_KINDS: Final = tuple(map(re.compile, ("[a-z]", "[A-Z]", "[0-9]", r"[^A-Za-z0-9_\-.\s]")))
_CLASSES: Final = bytes(
    ord("9" if 48 <= byte <= 57 else "A" if 65 <= byte <= 90 else "a") for byte in range(256)
)
_FOUR_KINDS: Final = bytes(
    ord("!") if byte < 128 and not chr(byte).isalnum() else kind
    for byte, kind in enumerate(_CLASSES)
)
_CAMEL_WORD: Final = re.compile(r"[A-Z][a-z]{2,}")
_CHAINED: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*(?:[.=-][A-Za-z_$][A-Za-z0-9_$]*)+")
_NOT_LETTER: Final = re.compile("[^a-z]+")
_JUMP: Final = re.compile(rb"a(?=[A9!])|A(?=[9!])|9(?=[aA!])|!(?=[aA9])")
_NOT_ALNUM: Final = bytes(b for b in range(256) if not (b < 128 and chr(b).isalnum()))
_NOT_LETTERS: Final = bytes(b for b in range(256) if not (b < 128 and chr(b).isalpha()))
_USUAL: Final = bytes(b for b in range(256) if chr(b) not in "jkqvwxzJKQVWXZ")
"""All but the letters that are rare in words, and a quarter of random letters."""
_FEW_DIGITS: Final = 6
_DIGIT: Final = re.compile(rb"[0-9]")
_CAPITAL: Final = re.compile(rb"[A-Z]")
_CHANGE: Final = re.compile(rb"a(?=[A9])|A(?=[a9])|9(?=[aA])")


def is_placeholder(value: str) -> bool:
    """Return whether a value only stands for one."""
    if _PLACEHOLDER.search(value):
        return True
    repeated = sum(len(found[0]) for found in _REPEATED.finditer(value))
    return repeated > 0 and repeated * 4 >= len(value)


def changes(value: bytes) -> int:
    """Count the changes between small letters, capitals and digits; other characters are skipped.

    Of random letters and digits about every second pair is a change, of words hardly any.
    """
    return len(_CHANGE.findall(value.translate(_CLASSES, _NOT_ALNUM)))


def looks_random(value: bytes) -> bool:
    """Return whether there is at least one change for every eight characters."""
    return changes(value) * 8 >= len(value)


def jumps(value: bytes) -> int:
    """Count the changes as above, without those of a capital to a small letter, as words have."""
    return len(_JUMP.findall(value.translate(_CLASSES, _NOT_ALNUM)))


def is_name(value: str) -> bool:
    """Return whether a value is a name in a program: `PrivateKeyTypes2`, `self.config.api_key`."""
    covered = sum(len(word) for word in _CAMEL_WORD.findall(value))
    if covered * 5 >= len(value) * 3:
        return True
    if not _CHAINED.fullmatch(value):
        return False
    return jumps(value.encode("ascii", "replace")) * 5 < len(value)


def is_in_order(value: str) -> bool:
    """Return whether its letters follow the alphabet, as in `a1b2c3d4` and `AB1C2defGHijk`."""
    letters = _NOT_LETTER.sub("", value.lower())
    steps = sum(ord(b) - ord(a) == 1 for a, b in pairwise(letters))
    return len(letters) >= 6 and steps * 5 >= (len(letters) - 1) * 3


def looks_like_key(value: bytes, *, may_be_name: bool) -> bool:
    """Return whether the random part of a known format is no word.

    `may_be_name`: it may have `_` and `-` in it, so names have the same form.
    """
    letters = value.translate(None, _NOT_LETTERS)
    if not letters:
        return len(set(value)) >= _FEW_DIGITS
    rare = len(value.translate(None, _USUAL))
    if not may_be_name:
        return changes(value) > 0 or rare * 6 >= len(value)
    has_digit = _DIGIT.search(value) is not None
    has_both = has_digit and _CAPITAL.search(value) is not None
    return has_both or looks_random(value) or (has_digit and rare * 4 >= len(value))


def looks_like_password(value: str, kinds: int = 3) -> bool:
    """Return whether a value has characters of at least `kinds` kinds, and no words in it.

    The kinds are small letters, capitals, digits and symbols. Passwords made of words cannot be
    told from names and from what manuals use.
    """
    if is_placeholder(value) or sum(kind.search(value) is not None for kind in _KINDS) < kinds:
        return False
    if _COMMON.search(value.translate(_LEET)):
        return False
    if _WORD.search(value):
        of_kind = value.encode("utf-8", "replace").translate(_FOUR_KINDS)
        return len(_JUMP.findall(of_kind)) * 3 >= len(of_kind)
    return True
