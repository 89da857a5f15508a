"""Tells secrets from other values that stand behind the name of a secret."""

import base64
import binascii
import re
from typing import Final

from router.privacy.randomness import (
    is_in_order,
    is_name,
    is_placeholder,
    jumps,
    looks_like_password,
)
from router.privacy.secret_names import Names

_LEAST: Final = {Names.MAYBE: 24, Names.SECRET: 18, Names.PASSWORD: 14}
"""Least length of a random value, by its name."""
_LEAST_PASSWORD: Final = 24
"""Least length of a value that looks like a password, but is not named as one."""
_NO_SECRETS: Final = ("arn:", "MFkwEwYHKoZI", "MCowBQYDK2V", "MIIBIjANBgkq", "ssh-", "AAAAB3Nza")
"""Beginnings of resource names of AWS and of public keys."""
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}|[a-z]{4}/")
"""A UUID, or the path of a file."""
_FILE: Final = re.compile(r"/.*\.[a-z]{2,4}\Z")
_DIGIT: Final = re.compile(rb"[0-9]")


def is_named_secret(value: bytes, sure: Names) -> bool:
    """Return whether a value is a secret, if its name is that of one."""
    text = value.decode("latin-1")
    if is_placeholder(text) or text.startswith(_NO_SECRETS) or "://" in text or _FILE.search(text):
        return False
    text = text.rstrip(".,")
    if is_in_order(text) or is_name(text) or (sure is Names.MAYBE and _ID.search(text)):
        return False
    if login_in_base64(value) is False:
        return False
    if len(text) >= _LEAST[sure] and is_random(value):
        return True
    is_long = sure is Names.PASSWORD or len(text) >= _LEAST_PASSWORD
    return is_long and looks_like_password(text)


def is_random(value: bytes) -> bool:
    """Return whether a value is no word; names of classes have capitals, but no digits."""
    found = jumps(value)
    return _DIGIT.search(value) is not None and found >= 4 and found * 6 >= len(value)


def is_login(password: str) -> bool:
    """Return whether a password is a real one, unlike those in manuals."""
    has_digit = any(character.isdigit() for character in password)
    return len(password) >= 6 and has_digit and looks_like_password(password, kinds=2)


def login_in_base64(value: bytes) -> bool | None:
    """Return whether a value is a real login or password in base64; None if it is no text."""
    try:
        padded = value.rstrip(b"=") + b"=" * (-len(value.rstrip(b"=")) % 4)
        text = base64.b64decode(padded, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None
    if not text.isprintable():
        return None
    _, colon, password = text.partition(":")
    return is_login(password if colon else text)
