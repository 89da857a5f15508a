"""Scores how strong a model a request needs: 0 to 100 points.

The score is the sum of five signals and of what the turn inherits from the conversation. Points for
the local model are added later, if it is known: see `scoring/reach.py`.

The points come from `lexicon.json`, which was learned from measured answers: it tells which words
and counts go with prompts that small models fail. This module only adds them up. The score depends
on the messages of the human, and for a follow-up on the answer before it; not on the system prompt,
tools or tool results.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import blake2b
from math import exp
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from router.request import ChatRequest
from router.scoring import followups
from router.scoring.instruction import FENCE, HEAD, LONG, TAIL
from router.scoring.lexicon import SPACELESS_FROM, Lexicon, load
from router.scoring.reach import Kind, kind_of
from router.scoring.reading import Reading, read
from router.scoring.turns import Turn, conversation, human_turns

UNSURE_BELOW: Final = 0.2
"""Under the threshold, a score with less confidence does not decide; UNSURE_TARGET does."""
EARLIER_CHARS: Final = 1_000
"""Characters of each earlier turn that are read again."""
MOST_REMEMBERED: Final = 2_000
MOST_WORDS: Final = 6
"""Most words that `explain` names for one count."""
SHORTEST_NAMED: Final = 3
"""Shorter words are not named by `explain`, in letters."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One row of the score: the counts that it adds up, and the range that limits its points."""

    name: str
    low: float
    high: float
    counts: tuple[str, ...]
    meaning: str


SIGNALS: Final = (
    Signal(
        "token_count", 0, 25,
        ("length", "sentence", "payload", "asked_size"),
        "long prompts are more likely complex; a pasted document counts little",
    ),
    Signal(
        "complex_keywords", 0, 50,
        (
            "vocabulary", "hard_words", "hard", "build", "expert", "long_words", "rare_words",
            "uncommon_words", "names", "makes", "whole", "code_build", "debug_hard", "design",
            "proof", "science", "legal", "medical", "finance", "my_case", "long_text", "rare",
            "analysis", "role",
        ),
        "words that go with prompts small models fail: implement, design, debug, prove, analyze",
    ),
    Signal(
        "simple_keywords", -15, 0,
        (
            "easy_words", "easy", "fact", "rewrite", "digest", "chat", "home", "brainstorm",
            "advice", "short_text", "code_small", "step", "on_text",
        ),
        "words that go with prompts they manage: summarize, translate, fix grammar, what is",
    ),
    Signal(
        "structure", 0, 25,
        (
            "numbers", "numeric_choices", "maths", "latex", "code", "identifiers", "fences",
            "lists", "tables", "json", "questions", "error", "debug", "code_word", "school_maths",
        ),
        "code blocks, identifiers, tables, JSON, formulas, several questions",
    ),
    Signal(
        "reasoning_cues", 0, 20,
        (
            "condition", "logic", "constraint", "comparison", "why", "quantity", "sequence",
            "rigor", "reason",
        ),
        "first ... then, however, on the other hand, must, if, why",
    ),
)  # fmt: skip
"""To add a signal: a row here, its counts in `reading.COUNTS`, and `tools/train_lexicon.py`."""

SIGNAL_OF: Final = {count: signal.name for signal in SIGNALS for count in signal.counts}
"""The signal that each count belongs to."""
BASE_SIGNAL: Final = "complex_keywords"
"""The signal that the base points belong to."""

CONVERSATION: Final = "conversation"
"""The row of points that a short turn inherits from the turns before it."""
LOCAL_MODEL: Final = "local_model"
"""The row of points for the loaded local model, if it is known."""


@dataclass(frozen=True, slots=True)
class Score:
    """How strong a model a request's last human turn needs, and why."""

    total: float
    """0 to 100: the signals' sum, clamped."""
    signals: Mapping[str, float]
    """Points of the five signals, of the conversation, and of the local model once it is known."""
    confidence: float
    """0 to 1: how much evidence the text gave. A prompt without evidence need not be easy."""
    tokens: int
    """Estimated size of the human's turn, pasted text included."""
    kind: Kind = "writing"
    """The kind of task, such as code or writing; see `reach.Kind`."""

    @property
    def score(self) -> float:
        """Return the total, by the name that scripts which compare scorers look for."""
        return self.total

    @property
    def unsure(self) -> bool:
        """Return whether the text gave too little evidence for a score."""
        return self.confidence < UNSURE_BELOW

    def with_local_model(self, kind: Kind, points: float) -> "Score":
        """Return the score with points for the local model, for a request of this kind."""
        signals = dict(self.signals.items())
        signals[LOCAL_MODEL] = points
        total = round(_clamped(self.total + points), 2)
        return Score(total, MappingProxyType(signals), self.confidence, self.tokens, kind)


def score(request: ChatRequest) -> Score:
    """Return the score of a request by its human turns and the answer before the last one."""
    return score_messages(request.messages)


def score_messages(messages: Sequence[Mapping[str, Any]]) -> Score:
    """Return the score of chat messages."""
    turns, answer = conversation(messages)
    if not turns:
        return Score(0.0, MappingProxyType(dict.fromkeys((*_NAMES, CONVERSATION), 0.0)), 0.0, 0)
    lexicon = load()
    turn = turns[-1]
    weight = _weigh(turn.text, lexicon)
    if len(turns) == 1:
        # Only the ends of a long text are read; its tokens are counted in full.
        return weight.alone if len(turn.text) <= LONG else replace(weight.alone, tokens=turn.tokens)
    need, known = _need_of(turns[:-1], lexicon)
    if answer:
        need = followups.with_answer(need, answer, _weigh(answer, lexicon).alone.total)
    points = dict(weight.points)
    added = round(followups.points(weight.follow_up(turn.text), need, lexicon), 2)
    points[CONVERSATION] = added
    confidence, kind = weight.confidence, weight.alone.kind
    if added > 0:
        confidence = max(confidence, known)
        kind = _weigh(_shortened(turns[-2].text), lexicon).alone.kind
    return Score(
        total=round(_clamped(sum(points.values())), 2),
        signals=MappingProxyType(points),
        confidence=round(confidence, 3),
        tokens=turn.tokens,
        kind=kind,
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """A count that gave points, before the range of its signal limited them."""

    signal: str
    count: str
    points: float
    words: tuple[str, ...] = ()
    """The words that were counted, strongest first; a sentence for the base points. Empty for
    counts of form (brackets, length) and if no word stands out."""


def explain(request: ChatRequest) -> list[Evidence]:
    """Return the counts that gave the last human turn its points, the largest first."""
    turns = human_turns(request.messages)
    if not turns:
        return []
    lexicon = load()
    reading = read(turns[-1].text, lexicon)
    starts = f"every request starts with {lexicon.base:.0f} points"
    found = [Evidence(BASE_SIGNAL, "base", round(lexicon.base, 2), (starts,))]
    for signal in SIGNALS:
        for name in signal.counts:
            points = lexicon.tables[name].at(reading.counts[name])
            if points:
                words = _words_behind(name, reading, lexicon)
                found.append(Evidence(signal.name, name, round(points, 2), words))
    return sorted(found, key=lambda one: -abs(one.points))


def _words_behind(count: str, reading: Reading, lexicon: Lexicon) -> tuple[str, ...]:
    if count in ("hard_words", "easy_words"):
        sign = 1 if count == "hard_words" else -1
        pulls = {
            word: sign * tendency
            for word in reading.words
            if len(word) >= SHORTEST_NAMED
            and word[0] < SPACELESS_FROM
            and (tendency := lexicon.tendency(word)) is not None
            and sign * tendency > 0
        }
        return tuple(sorted(pulls, key=lambda word: (-pulls[word], word))[:MOST_WORDS])
    cues = {(-abs(cue.strength), cue.word) for cue in reading.cues if cue.facet == count}
    return tuple(word for _, word in sorted(cues)[:MOST_WORDS])


def own_points(reading: Reading, lexicon: Lexicon) -> dict[str, float]:
    """Return the points of the five signals for one turn by itself."""
    totals = dict(_points_for_none(lexicon))
    tables = lexicon.tables
    for name, count in reading.counts.items():
        if count:
            table = tables[name]
            totals[SIGNAL_OF[name]] += table.at(count) - table.for_none
    return {
        signal.name: round(min(max(totals[signal.name], signal.low), signal.high), 2)
        for signal in SIGNALS
    }


@cache
def _points_for_none(lexicon: Lexicon) -> Mapping[str, float]:
    """Return the points of each signal if all counts are zero."""
    totals = {
        signal.name: sum([lexicon.tables[name].for_none for name in signal.counts])
        for signal in SIGNALS
    }
    totals[BASE_SIGNAL] += lexicon.base
    return totals


def _need_of(turns: Sequence[Turn], lexicon: Lexicon) -> tuple[float, float]:
    """Return the points that a later turn may inherit from these, and the confidence in them."""
    need: float | None = None
    known = 0.0
    for turn in turns:
        text = _shortened(turn.text)
        weight = _weigh(text, lexicon)
        follow_up = weight.follow_up(text)
        if need is None:
            need = _clamped(follow_up.own)
        else:
            total = _clamped(follow_up.own + followups.points(follow_up, need, lexicon))
            need = followups.need_after(follow_up, total, need, lexicon)
        known = max(known * followups.FADE, weight.confidence)
    return need or 0.0, known


def _shortened(text: str) -> str:
    """Return an earlier turn as it is read again: of a long one only its two ends."""
    if len(text) <= EARLIER_CHARS:
        return text
    return text[: EARLIER_CHARS * 3 // 4] + "\n\n" + text[-EARLIER_CHARS // 4 :]


class _Weight(NamedTuple):
    """The points of one turn by itself."""

    points: Mapping[str, float]
    n_words: int
    refers: bool
    asks_easy: bool
    confidence: float
    alone: Score
    """The score of the turn if it is the only one."""

    def follow_up(self, text: str) -> followups.FollowUp:
        """Return the facts that decide how much the turn inherits."""
        own = sum(self.points.values())
        return followups.FollowUp(text, own, self.n_words, self.refers, self.asks_easy)


_weights: OrderedDict[bytes, _Weight] = OrderedDict()
"""The turns that were read, the one used last at the end."""


def _weigh(text: str, lexicon: Lexicon) -> _Weight:
    """Return the points of a turn, which is read only once.

    Agents send a turn again with every step, chats with every later turn. Only its hash is kept,
    not its text. Of a long turn only both ends are read, so the hash covers those, its size, and
    whether a fence is open between them.
    """
    gist = text
    if len(text) > LONG:
        gist = f"{len(text)} {text.count(FENCE, 0, -TAIL) % 2} {text[:HEAD]} {text[-TAIL:]}"
    key = blake2b(gist.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    weight = _weights.get(key)
    if weight is not None:
        _weights.move_to_end(key)
        return weight
    weight = _weights[key] = _weighed(text, lexicon)
    if len(_weights) > MOST_REMEMBERED:
        _weights.popitem(last=False)
    return weight


def _weighed(text: str, lexicon: Lexicon) -> _Weight:
    reading = read(text, lexicon)
    points, confidence = own_points(reading, lexicon), _confidence(reading)
    alone = Score(
        total=round(_clamped(sum(points.values())), 2),
        signals=MappingProxyType({**points, CONVERSATION: 0.0}),
        confidence=round(confidence, 3),
        tokens=Turn(text).tokens,
        kind=kind_of(reading),
    )
    return _Weight(points, reading.n_words, reading.refers, reading.asks_easy, confidence, alone)


def _confidence(reading: Reading) -> float:
    """Return 0 to 1 for the amount of evidence.

    Cues count in full, words with a tendency for a quarter. Text in a script without data is not
    read, so it gives little evidence.
    """
    words = len(reading.known) / 4 + reading.n_spelled / 8
    evidence = len(reading.cues) + words + reading.forms * (1 - reading.unread)
    return 1 - exp(-evidence / 2)


def _clamped(total: float) -> float:
    return min(max(total, 0.0), 100.0)


_NAMES: Final = tuple(signal.name for signal in SIGNALS)
