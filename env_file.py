"""Finds the .env file, reads it in any encoding, and changes a line of it."""

import codecs
import os
import re
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Final

import platformdirs
from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

NAME: Final = ".env"
PROGRAM: Final = Path(__file__).parent
"""The clone, or the package folder of an installed program."""
READ_BY_OTHERS: Final = 0o077

_INVISIBLE: Final = "\ufeff\u200b\u200c\u200d\u2060\u00ad\u00a0\u202f"
_AT_LINE_ENDS: Final = re.compile(
    rf"^[{_INVISIBLE}]+[ \t]*|[{_INVISIBLE}]+[ \t]*(?=\r?$)", re.MULTILINE
)
_AROUND_EQUALS: Final = re.compile(
    rf"^((?:export[ \t]+)?\w+)[ \t{_INVISIBLE}]*=[ \t{_INVISIBLE}]*", re.MULTILINE
)
_QUOTES: Final = "\u2018-\u201f"
_CURLY: Final = re.compile(rf"[{_QUOTES}](.*)[{_QUOTES}]", re.DOTALL)


class Unreadable(Exception):
    """The file cannot be read; the message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class EnvFile:
    """The content of a .env file."""

    path: Path
    values: dict[str, str] = field(default_factory=dict)
    """By upper-case name; the last line that sets a name counts."""
    lines: dict[str, int] = field(default_factory=dict)
    """The line that each value comes from, counted from 1."""
    problems: tuple[str, ...] = ()
    """One sentence for each harmless oddity, with file and line, without a value."""

    def misspelled(self, settings: Collection[str]) -> list[str]:
        """Return a sentence for each name that is no setting, but nearly one."""
        return [
            f"{self.path}, line {self.lines[name]}: {name} is no setting. Is {meant} meant?"
            for name in self.values
            if name not in settings and (meant := near(name, settings))
        ]


def user_file() -> Path:
    """Return the .env file in the user's configuration folder."""
    return platformdirs.user_config_path("llm-router", appauthor=False) / NAME


def new_file() -> Path:
    """Return where a .env file is written when there is none yet."""
    return PROGRAM / NAME if _is_clone() else user_file()


def places() -> tuple[Path, ...]:
    """Return where a .env file is looked for, the first one first."""
    return tuple(dict.fromkeys((Path.cwd() / NAME, *own_places())))


def own_places() -> tuple[Path, ...]:
    """Return the places whose .env files belong to this program alone."""
    return (PROGRAM / NAME, user_file()) if _is_clone() else (user_file(),)


def _is_clone() -> bool:
    return (PROGRAM / "pyproject.toml").exists()


def find(settings: Collection[str]) -> EnvFile | None:
    """Read the first .env file that sets one of these settings. Raises Unreadable.

    So a .env file of another project in the working directory does not hide the user's own.
    A misspelled name counts, so that the warning about it is given. If no file sets anything, the
    first of this program's own is returned, for its problems.
    """
    idle: EnvFile | None = None
    for path in places():
        if path.is_file():
            file = read(path)
            if any(name in settings or near(name, settings) for name in file.values):
                return file
            if path in own_places():
                idle = idle or file
    return idle


def near(name: str, settings: Iterable[str]) -> str:
    """Return the setting that this name is probably a misspelling of, or an empty text."""
    found = get_close_matches(name, settings, n=1, cutoff=0.9)
    return found[0] if found else ""


def read(path: Path) -> EnvFile:
    """Read a .env file in UTF-8, UTF-16 or Latin-1. Raises Unreadable."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise Unreadable(f"There is no file {path}.") from None
    except OSError as error:
        raise Unreadable(f"{path} cannot be read ({error.strerror}): check its owner.") from None
    text, codec = _decoded(path, raw)
    problems = [*_access_problems(path), *_codec_problems(path, raw, codec)]
    text = _AROUND_EQUALS.sub(r"\1=", _AT_LINE_ENDS.sub("", text))
    good: list[Binding] = []
    lines: dict[str, int] = {}
    for binding in parse_stream(StringIO(text)):
        number = _line_of(binding)
        if binding.error or (binding.key is not None and binding.value is None):
            problems.append(f"{path}, line {number}: not NAME=value, so it is left out.")
        elif binding.key is not None:
            name = binding.key.upper()
            if name in lines:
                earlier = f"line {lines[name]} does not count"
                problems.append(f"{path}, line {number}: {name} is set again; {earlier}.")
            lines[name] = number
            good.append(binding)
    values: dict[str, str] = {}
    # dotenv puts in the values of other variables (${HOME}).
    source = StringIO("".join(binding.original.string for binding in good))
    for name, value in dotenv_values(stream=source).items():
        plain = value or ""
        if quoted := _CURLY.fullmatch(plain):
            plain = quoted[1]
            problems.append(
                f"{path}, line {lines[name.upper()]}: curly quotes around the value of"
                f" {name.upper()} are left out; write straight ones."
            )
        values[name.upper()] = plain
    return EnvFile(path, values, lines, tuple(problems))


def write_setting(path: Path, name: str, value: str) -> None:
    """Set `name` where the file sets it, else at its end. Replaces the file in one step.

    Comments, line ends, encoding, a link and the file's permissions stay. A new file can be read
    by its owner only.
    """
    path = path.resolve()
    raw = path.read_bytes() if path.exists() else b""
    before, codec = _decoded(path, raw)
    mark = before[: before.startswith("\ufeff")]  # dotenv would drop it
    before = before.removeprefix(mark)
    pieces, found = [mark], False
    for binding in parse_stream(StringIO(before, newline="")):
        piece = binding.original.string
        if binding.key is not None and binding.key.strip(_INVISIBLE).upper() == name:
            found = True
            piece = re.sub(
                r"""([ \t]*=[ \t]*)('[^']*'|"[^"]*"|[^\s#]*)""",
                lambda match: match[1] + value,
                piece,
                count=1,
            )
        pieces.append(piece)
    if not found:
        newline = "\r\n" if "\r\n" in before else "\n"
        start = "" if not before or before.endswith("\n") else newline
        pieces.append(f"{start}{name}={value}{newline}")
    replace_file(path, "".join(pieces).encode(codec))


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step; only its owner can read a new one. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o600
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.chmod(beside, mode)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)  # it holds the keys of the original
        raise


def _decoded(path: Path, raw: bytes) -> tuple[str, str]:
    """Return the text and its codec. A byte order mark stays in the text, as U+FEFF."""
    codec = _codec(raw)
    try:
        return raw.decode(codec), codec
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(codec, "replace").count("\n") + 1
        raise Unreadable(
            f"{path}, line {line}: neither UTF-8 nor UTF-16. Save the file as UTF-8."
        ) from None


def _codec(raw: bytes) -> str:
    if raw.startswith(codecs.BOM_UTF16_LE) or raw[1:2] == b"\0":
        return "utf-16-le"
    if raw.startswith(codecs.BOM_UTF16_BE) or raw[:1] == b"\0":
        return "utf-16-be"
    return "latin-1" if _first_odd_byte(raw) is not None else "utf-8"


def _first_odd_byte(raw: bytes) -> int | None:
    """Return where the bytes stop being UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _codec_problems(path: Path, raw: bytes, codec: str) -> list[str]:
    at = _first_odd_byte(raw) if codec == "latin-1" else None
    if at is None:
        return []
    line = raw[:at].count(b"\n") + 1
    return [f"{path}, line {line}: not UTF-8, so it is read as Latin-1. Save the file as UTF-8."]


def _access_problems(path: Path) -> list[str]:
    if os.name != "posix" or not path.stat().st_mode & READ_BY_OTHERS:
        return []
    return [f"{path}: other users of this machine can read it. Run: chmod 600 {path}"]


def _line_of(binding: Binding) -> int:
    """Return the line of a binding, without the blank lines that are part of it."""
    blank = re.match(r"\s*", binding.original.string)
    return binding.original.line + (blank[0].count("\n") if blank else 0)
