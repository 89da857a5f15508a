"""Detects agents that are stuck: tool loops in which nothing new happens.

Only the history that the caller sends is read. A step is one answer's tool calls and their results.
An agent is stuck in one of these ways:

- three steps in a row failed, each in all of its calls;
- the same calls brought the same results three times, alone or in turn with up to two other steps;
- the same tool was called three times with arguments that only grew, to no effect.

Waiting does not count: results that report work in progress, and steps that sleep, may repeat.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from operator import le
from typing import Any, Final

import orjson

from router.request import text_of
from router.scoring.turns import human_text
from router.wire import fields

TIMES: Final = 3
"""This many failures or repetitions in a row mean that the agent is stuck."""
LONGEST_CYCLE: Final = 3
"""Most steps in a repeated sequence."""
MOST_STEPS: Final = 16
"""Steps that are checked, from the end of the history."""
RESULT_CHARS: Final = 500
"""Characters of a result that are compared, at its beginning and at its end."""
MOST_VARYING_CHARS: Final = 100
SHORT_CHARS: Final = 400
"""A longer result is content, not a report of success, failure or progress."""
ERROR_CHARS: Final = 200
"""Characters of a result in which an error is looked for, and at its end an exit status."""
LONGEST_GROWN_CHARS: Final = 4_000
"""Longer arguments are not compared for growth."""

_ERROR: Final = re.compile(
    r"""[\W_]*(?!no\s|0\s|without\s)(?:tool_use_error\W+|result\W+|output\W+|the\s)?(?:
        (?:\w+\s){0,3}(?:error|exception|failure|failed)\b(?!\s*(?:=|rate|handling|log))
      | (?:is_?)?error\W+true | success\W+false | ok\W+false | status\W+(?:error|fail)
      | \w*(?:Error|Exception)\b | Traceback\b | panic\b | fatal\b | aborted?\b | denied\b
      | (?-i:E[A-Z]{4,})\b | HTTP/?[\d.]*\s*[45]\d\d\b
      | [45]\d\d:?\s+(?:bad|unauthor|forbidden|not\s|method|conflict|gone|unproc|too\s|internal
                     |service|gateway|server)
      | unable\sto | (?:can(?:no|')t|could\s?n[o']t|could\snot|cannot)\b | not\sfound | no\ssuch
      | (?:unknown|invalid|illegal|unsupported|missing|malformed|unexpected)\s
      | permission\sdenied | access\sdenied | forbidden\b | unauthori[sz]ed\b | not\sallowed
      | (?:operation\s|request\s|connection\s|command\s)?timed\sout | timeout\b
      | connection\s(?:refused|reset|closed)
      | fehler | erreur | errore | \u9519\u8bef
      | \u30a8\u30e9\u30fc | \u043e\u0448\u0438\u0431\u043a\u0430
    )""",
    re.IGNORECASE | re.VERBOSE,
)
# An error after the name of what failed: "bash: foo: command not found".
_ERROR_OF: Final = re.compile(
    r"[^\n]{1,160}?(?::\s|\s)(?:command\snot\sfound|no\ssuch\s(?:file|directory|key|host|table)"
    r"|permission\sdenied|access\sdenied|not\sfound|does\snot\sexist|doesn't\sexist"
    r"|is\snot\san?\s(?:file|directory)|(?:is|was)\sdenied|connection\srefused|timed\sout|failed"
    r"|is\snot\s(?:defined|valid|allowed|recogni[sz]ed|available))\b",
    re.IGNORECASE,
)
_STATUS: Final = re.compile(
    r"(?:exit(?:ed)?(?:\s(?:with\s)?)?[\s_]*(?:code|status)|return[\s_]*code)\W{0,4}(-?\d{1,9})",
    re.IGNORECASE,
)
_FLAGGED: Final = re.compile(
    r'"(?:error|err|error_message)"\s*:\s*(?:"[^"]|\{|true)|"(?:ok|success)"\s*:\s*false'
    r'|"(?:status|result|type)"\s*:\s*"(?:error|fail|failed|failure)"|<(?:tool_use_)?error>',
    re.IGNORECASE,
)
_UNDER_WAY: Final = re.compile(
    r"\b(?:pending|queued|in[\s_-]progress|processing|provisioning|deploying|building|compiling"
    r"|waiting|scheduled|initiali[sz]ing|warming\sup|starting|booting|syncing|downloading"
    r"|uploading|creating|loading|installing|still|not\s(?:yet|ready)|running(?!\s(?:on|at|in)\b)"
    r"|unfinished|incomplete|eta)\b|\d\s?%",
    re.IGNORECASE,
)
_ALREADY: Final = re.compile(r"\balready\s\w+", re.IGNORECASE)
_COMES_LATER: Final = re.compile(
    r"\b(?:not\s(?:yet|ready)|still\s\w+ing|starting\sup|is\sstarting|initiali[sz]ing|warming\sup"
    r"|(?:try|trying)\sagain\s(?:later|in)|retry(?:ing)?[\s_-](?:after|in)|rate[\s_-]limit\w*"
    r"|too\smany\srequests|in\sprogress|temporarily)\b",
    re.IGNORECASE,
)
_WAITING_TOOL: Final = re.compile(r"(?:^|[^a-z])(?:sleep|wait|poll|delay)", re.IGNORECASE)
_WAITING_COMMAND: Final = re.compile(r"\bsleep\W+\d|Start-Sleep", re.IGNORECASE)
_NOTHING: Final = re.compile(
    r"[\W_]*(?:(?:results?|matches|hits|items|files|data|count|total)\W+)?"
    r"(?:no\s(?:\w+\s){0,2}(?:results?|match(?:es)?|files?|items?|hits?|rows?|data|changes?|entries"
    r"|documents?|records?|output)\b|nothing\b|none\b|null\b|empty\b|0\s(?:results?|matches|rows"
    r"|hits|items|files)|not\sfound|\W*$)",
    re.IGNORECASE,
)
# Differs between two equal runs: times, durations, addresses and long ids.
_VARIES: Final = re.compile(
    r"0x[0-9a-f]+|\b(?=[a-f-]*\d)[0-9a-f-]{8,}\b|\d[\d:.,-]*[T\s]\d+:\d+[\d:.]*Z?|\d+:\d+(?::[\d.]+)?"
    r"|\d+(?:\.\d+)?\s?(?:ms|s|secs?|seconds?|minutes?)\b|\d{6,}",
    re.IGNORECASE,
)
_NUMBERS: Final = re.compile(r"\d+")


def is_stalled(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether an agent was stuck at any of the last steps of this history."""
    if len(messages) < 2 * TIMES:  # each step takes a call and its result
        return False
    steps = _steps(messages)
    return any(_is_stuck(steps[:end]) for end in range(TIMES, len(steps) + 1))


@dataclass(slots=True)
class _Call:
    name: str
    arguments: str

    def values(self) -> dict[str, Any]:
        """Return the arguments as an object that can be written as JSON again."""
        return fields.arguments(self.arguments)


class _Step:
    """The calls of one answer, and their results.

    `after`: the contents of the user messages between the step before and this one.
    """

    def __init__(self, calls: list[_Call], after: list[Any]) -> None:
        self.calls = calls
        self.names = [call.name for call in calls]
        self.results: list[str] = []
        self._after = after

    @cached_property
    def opens_a_turn(self) -> bool:
        """Return whether a human wrote before it. Programs put reminders in user messages too."""
        return any(map(human_text, self._after))

    @cached_property
    def asked(self) -> list[tuple[str, bytes]]:
        """Return names and arguments of the calls in a normal form, sorted."""
        sort = orjson.OPT_SORT_KEYS
        return sorted((c.name, orjson.dumps(c.values(), option=sort)) for c in self.calls)

    @cached_property
    def outcome(self) -> list[str]:
        """Return the results without what differs from run to run, sorted."""
        return sorted(_VARIES.sub("0", _ends(result)) for result in self.results)

    def came_to_the_same(self, other: "_Step") -> bool:
        """Return whether the results are the same, but for what differs from run to run."""
        if self.results == other.results:
            return True
        sizes = [sum(map(len, step.results)) for step in (self, other)]
        return abs(sizes[0] - sizes[1]) <= MOST_VARYING_CHARS and self.outcome == other.outcome

    @cached_property
    def failed(self) -> bool:
        return bool(self.results) and all(map(_is_error, self.results))

    @cached_property
    def waits(self) -> bool:
        """Return whether it waits for something, or reports work in progress."""
        if self.failed:
            return any(_COMES_LATER.search(result[:SHORT_CHARS]) for result in self.results)
        return any(
            len(result) <= SHORT_CHARS and _UNDER_WAY.search(_ALREADY.sub("", result))
            for result in self.results
        ) or any(
            _WAITING_TOOL.search(call.name) or _WAITING_COMMAND.search(call.arguments[:SHORT_CHARS])
            for call in self.calls
        )

    @cached_property
    def had_no_effect(self) -> bool:
        """Return whether it failed or found nothing."""
        return self.failed or all(
            len(result) <= SHORT_CHARS and _NOTHING.match(result) for result in self.results
        )


def _steps(messages: Sequence[Mapping[str, Any]]) -> list[_Step]:
    """Return the last steps whose results have come, oldest first."""
    first = len(messages)
    answers = 0
    while first and answers <= MOST_STEPS:
        first -= 1
        answers += messages[first]["role"] == "assistant"
    steps: list[_Step] = []
    said: list[Any] = []
    for message in messages[first:]:
        role = message["role"]
        if role == "user":
            said.append(message.get("content"))
        elif role == "assistant" and (calls := [*_calls(message)]):
            steps.append(_Step(calls, said))
            said = []
        elif role in ("tool", "function") and steps:
            steps[-1].results.append(text_of(message.get("content")))
    return [step for step in steps if step.results]


def _calls(message: Mapping[str, Any]) -> Iterator[_Call]:
    for call in message.get("tool_calls") or ():
        function = call.get("function") or call.get("custom")
        if isinstance(function, dict):
            name = function.get("name")
            arguments = function.get("arguments", function.get("input"))
            if not isinstance(arguments, str):
                arguments = orjson.dumps(arguments or {}).decode()
            yield _Call(name if isinstance(name, str) else "", arguments)


def _is_stuck(steps: Sequence[_Step]) -> bool:
    """Return whether the last of these steps completes a sign of being stuck."""
    last = steps[-TIMES:]
    if all(step.failed for step in last) and not any(step.waits for step in last):
        return _is_one_turn(last)
    return _repeats(steps) or (_only_grows(last) and _is_one_turn(last))


def _is_one_turn(steps: Sequence[_Step]) -> bool:
    return not any(step.opens_a_turn for step in steps[1:])


def _repeats(steps: Sequence[_Step]) -> bool:
    """Return whether the last step has happened three times with the same results."""
    for cycle in range(1, LONGEST_CYCLE + 1):
        window = steps[-((TIMES - 1) * cycle + 1) :]
        pairs = [*zip(window, window[cycle:], strict=False)]
        if len(pairs) > (TIMES - 2) * cycle and all(_is_same(*pair) for pair in pairs):
            return not any(step.waits for step in window) and _is_one_turn(window)
    return False


def _is_same(one: _Step, two: _Step) -> bool:
    return one.names == two.names and one.asked == two.asked and one.came_to_the_same(two)


def _only_grows(steps: Sequence[_Step]) -> bool:
    """Return whether one tool got growing arguments and returned the same, or nothing."""
    calls = [step.calls[0] for step in steps]
    if any(step.names != [calls[0].name] or step.waits for step in steps):
        return False
    if any(len(call.arguments) > LONGEST_GROWN_CHARS for call in calls):
        return False
    values = [call.values() for call in calls]
    grown = [_growth(one, two) for one, two in pairwise(values)]
    if not all(grown):
        return False
    if all(step.had_no_effect for step in steps):
        return True
    # A short result may confirm an action. Then only adding the same piece again counts.
    is_content = all(len(result) > SHORT_CHARS for step in steps for result in step.results)
    adds_the_same = len(set(grown)) == 1 and grown[0] != _LARGER
    if not (is_content or adds_the_same):
        return False
    return all(step.results == steps[0].results for step in steps)


def _growth(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return what was added to the arguments; "" if they did more than grow."""
    changed = [name for name in after if before.get(name) != after[name]]
    if before.keys() - after.keys() or not changed:
        return ""
    added = [_added(before.get(name), after[name]) for name in changed]
    return " ".join(added) if all(added) else ""


_LARGER: Final = "a larger number"


def _added(old: Any, new: Any) -> str:
    if isinstance(old, int | float) and isinstance(new, int | float):
        return _LARGER if new > old else ""
    if isinstance(old, list) and isinstance(new, list):
        return orjson.dumps(new[len(old) :]).decode() if new[: len(old)] == old else ""
    if not isinstance(old, str) or not isinstance(new, str):
        return ""
    if old and len(new) > len(old) and old in new:
        return new.replace(old, "", 1).strip()
    numbers = [[*map(int, _NUMBERS.findall(text)[:9])] for text in (old, new)]
    is_same = _NUMBERS.sub("0", old) == _NUMBERS.sub("0", new)
    return _LARGER if is_same and all(map(le, *numbers)) else ""


def _is_error(result: str) -> bool:
    """Return whether a tool reports a failure in one of the usual ways."""
    begin, end = result[:ERROR_CHARS].lstrip(), result[-ERROR_CHARS:]
    either = f"{begin}\n{end}".lower()
    if ("exit" in either or "return" in either) and (statuses := _STATUS.findall(either)):
        return int(statuses[-1]) != 0
    if _FLAGGED.search(begin):
        return True
    if len(result) > RESULT_CHARS:
        return begin.startswith("Traceback")
    if _ERROR.match(begin):
        return True
    return len(result) <= SHORT_CHARS and _ERROR_OF.match(begin) is not None


def _ends(result: str) -> str:
    if len(result) <= 2 * RESULT_CHARS:
        return result.strip()
    return f"{result[:RESULT_CHARS]}{len(result)}{result[-RESULT_CHARS:]}"
