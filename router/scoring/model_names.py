"""Reads a model's name: family, size, quantization, and whether others have retrained it.

Names are repositories, files, tags or API ids: `qwen3:30b-a3b-instruct-2507-q4_K_M`,
`lmstudio-community/Qwen2.5-32B-Instruct-GGUF`, `claude-3-5-sonnet@20240620`. A name is normalised
first, then the families of `models.toml` are looked for in it. Results are cached.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).with_name("models.toml")
LONGEST_NAME: Final = 200
SAME_SIZE: Final = 1.3
"""A size in a name and one in the table count as equal up to this factor."""
MANY_SIZES: Final = 3.2
"""A name of a family with larger differences in size than this factor must tell the size."""
EXPERTS_SHARE: Final = 0.83
"""Factor on experts x size, because experts share layers: 8x7B is 47B."""

_QUANTIZATION: Final = re.compile(
    r"(?<![a-z0-9])(?:"
    r"(?:ud-)?[it]?q[1-8](?:_[0-9a-z]{1,3}){0,3}|q\df\d+(?:_\d)?|\d(?:\.\d+)?-?bits?|\d(?:\.\d+)?bpw"
    r"|b?fp?(?:4|8|16|32)(?:_[a-z0-9]+)?|mxfp4|nvfp4|int[248]|w\d+a\d+|awq|gptq|exl[23]|qat|hqq|bnb|dwq"
    r")(?![a-z0-9])"
)
_BITS: Final = re.compile(r"(?:q|int|fp?|w|^)(\d+)")
_MAKER: Final = re.compile(
    r"^(?:[a-z]{2,4}\.)?(?:anthropic|meta|mistral|amazon|cohere|ai21|deepseek|openai|qwen|google)\."
)
_SNAPSHOT: Final = re.compile(r"(?:^|-)of-\d+$|^model$|^ggml-model.*|^snapshots$|^[0-9a-f]{32,}$")
_POINT: Final = re.compile(r"(?<=[a-z-])(\d)p(\d)(?=-)")
_VERSION: Final = re.compile(r"(?<![\d.])(\d)-(\d)(?=-|$)")
_JOINED: Final = re.compile(r"(?<=[a-z])-(?=\d{1,2}(?:\.\d+)?(?:-|$))")
_NAMED_V: Final = re.compile(r"(?<=llama)-?v(?=\d)")
_EXPERTS: Final = re.compile(r"(?<![a-z0-9.])(\d{1,3})x(\d+(?:\.\d+)?)b(?![a-z0-9])")
_SPARSE: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b-?a(\d+(?:\.\d+)?)([bm])(?![a-z0-9])")
_ACTIVE_FIRST: Final = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b-(\d+(?:\.\d+)?)b(?![a-z0-9])")
_OF_EACH: Final = re.compile(r"(?<![a-z0-9.])(?:\d+b-\d+e|\d{2,3}x\d+b)(?![a-z0-9])")
_BILLIONS: Final = re.compile(r"(?<![a-z0-9.])(\d{1,4}(?:\.\d{1,3})?)b(?![a-z0-9])")
_MILLIONS: Final = re.compile(r"(?<![a-z0-9.])(\d{2,4})m(?![a-z0-9])")
_WORD: Final = re.compile(r"[a-z]{2,}")
_NUMBERED: Final = re.compile(r"(?<![a-z\d])[a-z]{0,2}\d[a-z\d.]*")


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the table. Sizes in billions of parameters; 0 where they are not known."""

    family: str
    index: int
    """Its place among the models of its family."""
    b: float
    active_b: float
    word: str
    """A word in names that distinguishes it from others of the same size."""
    released: str
    of: str
    """The family that it really belongs to, if that is another one."""


@dataclass(frozen=True, slots=True)
class Family:
    """One family of the table."""

    key: str
    name: str
    """The name to show; empty: show it as it was written."""
    made_for: str
    tune: bool
    """Others than the makers of its base trained, distilled or merged it."""
    cloud: bool
    rows: tuple[Row, ...]
    default: Row


@dataclass(frozen=True, slots=True)
class ModelName:
    """The parts of a name. Sizes in billions of parameters; None if unknown."""

    family: Family | None
    row: Row | None
    """The model in the table; None if its family has none that matches."""
    shown: str
    """The family's name."""
    parameters_b: float | None
    active_b: float | None
    quantization: str
    bits: int | None
    made_for: str
    tune: bool
    """Others have retrained or merged it, so the family's figures do not apply."""


@dataclass(frozen=True, slots=True)
class Table:
    """The table, prepared for looking names up."""

    families: tuple[tuple[re.Pattern[str], Family], ...]
    plain_words: frozenset[str]
    """Words in names that are no sign of further training by others."""
    made_for: Mapping[str, str]
    """By word in a name: the purpose that the model was made for."""


@cache
def table() -> Table:
    """Return the table, which is read when the first name is looked up."""
    data = tomllib.loads(TABLE.read_text("utf-8"))
    found = []
    for entry in data["family"]:
        key = entry.get("name") or entry["names"][0]
        rows = tuple([_row(key, i, entry, model) for i, model in enumerate(entry["models"])])
        marked = [row for row, m in zip(rows, entry["models"], strict=True) if m.get("default")]
        family = Family(
            key,
            entry.get("name", ""),
            entry.get("made_for", ""),
            entry.get("tune", False),
            entry.get("cloud", False),
            rows,
            marked[0] if marked else rows[-1],
        )
        written = "|".join(name.replace(".", r"\.") for name in entry["names"])
        # Retrained models have version numbers of their own.
        version = r"(?:\d+(?:\.\d+)*)?" if family.tune else ""
        pattern = rf"(?<![a-z0-9])(?P<name>{written}){version}(?![a-z0-9]|\.\d)"
        found.append((re.compile(pattern), family))
    made_for = {word: what for what, words in data["made_for"].items() for word in words.split()}
    return Table(tuple(found), frozenset(data["plain_words"].split()), made_for)


def _row(family: str, index: int, entry: Mapping[str, Any], model: Mapping[str, Any]) -> Row:
    b = float(model.get("b", 0))
    return Row(
        family,
        index,
        b,
        float(model.get("active", b)),
        model.get("word", ""),
        model.get("released", entry["released"]),
        model.get("of", ""),
    )


@lru_cache(maxsize=1_000)
def parse(name: str) -> ModelName:
    """Return the parts of a name; an empty ModelName if none are found."""
    lower = name[:LONGEST_NAME].lower().replace("\\", "/").replace("--", "/")
    parts = [part for part in lower.split("/") if part]
    for part in reversed(parts):
        stem = part.removesuffix(".gguf")
        if not _SNAPSHOT.search(stem) and (found := _read(stem)).family is not None:
            return found
    return _read(parts[-1].removesuffix(".gguf")) if parts else _read("")


def _read(text: str) -> ModelName:
    text = _MAKER.sub("", text)
    marks = _QUANTIZATION.findall(text)
    quantization = max(marks, key=lambda mark: any(map(str.isdigit, mark)), default="")
    bits = _bits(quantization)
    key = _in_order(_QUANTIZATION.sub("", text))
    parameters, active, merged = _sizes(key)
    family, written = _family(key)
    words = _words(key.replace(written, " ") if written else key)
    made_for = next((table().made_for[word] for word in words if word in table().made_for), "")
    if family is None:
        return ModelName(None, None, "", parameters, active, quantization, bits, made_for, False)
    row = _choose(family, key, parameters)
    if row is not None and row.of:
        family = next(other for _, other in table().families if other.key == row.of)
        row = _choose(family, key, parameters)
    changed = not family.cloud and (
        _is_foreign(words, family) or (merged and all(row.active_b == row.b for row in family.rows))
    )
    own = family.made_for or ("" if row is None or row.word not in table().made_for else made_for)
    respecialised = not family.cloud and made_for not in ("", own)
    tune = family.tune or changed or (respecialised and made_for not in ("reasoning", "vision"))
    if respecialised or (changed and not family.tune):
        row = None
    if not family.name:  # it stands for many of different sizes
        row = None
    if row is not None and row.b:
        parameters, active = row.b, row.active_b
    return ModelName(
        family,
        row,
        family.name or written,
        parameters,
        active or parameters,
        quantization,
        bits,
        made_for if respecialised else own,
        tune,
    )


def _is_foreign(words: list[str], family: Family) -> bool:
    """Return whether a name has words that are neither its family's own nor plain ones."""
    own = {part for row in family.rows for part in _WORD.findall(row.word)}
    known = table()
    return any(
        w not in known.plain_words and w not in known.made_for and w not in own for w in words
    )


def _in_order(text: str) -> str:
    """Put a name into the form that the table's patterns are written for."""
    key = re.sub(r"[\s_:@+,()\[\]]+", "-", text.replace("+", "plus-"))
    key = _NAMED_V.sub("", key)
    key = _POINT.sub(r"\1.\2", key)
    key = _VERSION.sub(r"\1.\2", re.sub(r"-{2,}", "-", key).strip("-."))
    return _JOINED.sub("", key)


def _sizes(key: str) -> tuple[float | None, float | None, bool]:
    """Return all parameters, active ones, and whether the name counts experts (8x7b)."""
    if _OF_EACH.search(key):  # "17b-16e" and "16x17b" say what is active
        return None, None, False
    if found := _EXPERTS.search(key):
        each, count = float(found[2]), int(found[1])
        return round(count * each * EXPERTS_SHARE, 1), round(2 * each * EXPERTS_SHARE, 1), True
    if found := _SPARSE.search(key):
        return float(found[1]), float(found[2]) / (1000 if found[3] == "m" else 1), False
    if found := _ACTIVE_FIRST.search(key):
        return float(found[2]), float(found[1]), False
    if found := _BILLIONS.search(key):
        return float(found[1]), None, False
    if (found := _MILLIONS.search(key)) and int(found[1]) >= 50:
        return int(found[1]) / 1000, None, False
    return None, None, False


def _family(key: str) -> tuple[Family | None, str]:
    """Return the family that a name means, and how it is written there."""
    best: tuple[bool, int, Family | None, str] = (False, 0, None, "")
    for pattern, family in table().families:
        if found := pattern.search(key):
            # A retrained model is named after its base too.
            rank = (family.tune, len(found["name"]))
            if rank > best[:2]:
                best = (*rank, family, found[0])
    return best[2], best[3]


def _choose(family: Family, key: str, parameters: float | None) -> Row | None:
    """Return the model of the table that a name means; None where none has this size."""
    sized = family.rows
    if parameters is not None:
        sized = tuple([row for row in sized if row.b and _apart(row.b, parameters) <= SAME_SIZE])
    able = [row for row in sized if not row.word or row.word in key] or sized
    if not able:
        return None

    def fits(row: Row) -> tuple[int, float, bool]:
        off = _apart(row.b, parameters) if parameters is not None else 1.0
        return len(row.word), -off, row is family.default

    best = max(able, key=fits)
    if parameters is not None or (best.word and best.word in key):
        return best
    return None if _is_vague(family, key) else family.default


def _is_vague(family: Family, key: str) -> bool:
    """Return whether a name without a size can be any of many models: "qwen", "llama"."""
    sizes = [row.b for row in family.rows]
    return (
        not family.cloud and not any(map(str.isdigit, key)) and max(sizes) > MANY_SIZES * min(sizes)
    )


def _apart(one: float, other: float) -> float:
    return max(one, other) / max(min(one, other), 0.01)


def _words(key: str) -> list[str]:
    """Return the words of a name, without those that have a number in them."""
    return _WORD.findall(_NUMBERED.sub(" ", key))


def _bits(quantization: str) -> int | None:
    if quantization in ("awq", "gptq", "mxfp4", "nvfp4", "qat", "bnb"):
        return 4
    found = _BITS.search(quantization)
    return int(found[1]) if found else None
