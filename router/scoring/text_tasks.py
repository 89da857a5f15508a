"""Finds easy requests about a text that stands next to them: "summarize this", "tl;dr"."""

import re
from typing import Final

from router.scoring.cues import HARD_TASKS, NO_SPACES, WORD, Found, cues_in, names_any
from router.scoring.lexicon import SPACELESS_FROM, Lexicon

READ: Final = 2_000
"""Characters of a text that are searched for a request of its own."""
DOCUMENT: Final = 500
"""If the task is easy, a text of this many characters counts as a document."""
TASK: Final = 120
"""Characters in which the colon of "translate this into French:" is looked for."""
LAST: Final = 200
"""Longer paragraphs, in characters, are no request about the text before them."""
BEFORE: Final = 120
"""Shorter texts, in characters, are no document before a request."""
FEW_WORDS: Final = 5
"""A request of this many words need not point at the text: "tl;dr"."""
FEW_SIGNS: Final = 10
"""The same in characters of text without spaces."""
MOST_SENTENCES: Final = 40
"""Most sentences of a document that are looked at for a request."""
TLDR: Final = frozenset({"tl_dr", "tldr"})
BUILDS: Final = frozenset({"whole", "code_build", "design"})
"""Counts whose cues, after "make", name work that is not easy."""
WORK: Final = BUILDS | {"hard", "proof", "debug_hard"}
"""Counts whose cues, after "I need you to", do."""

_COLON: Final = re.compile(r":\s|:$|\n|\uff1a")
_STOP: Final = re.compile(r"[.!?]\s|\u3002")
_SENTENCES: Final = re.compile(r"[.!?\n\u3002\uff01\uff1f]")


def end_of_easy_head(text: str, lexicon: Lexicon) -> int:
    """Return the end of an easy request that a document follows; 0 if there is none."""
    if found := _COLON.search(text, 0, TASK):
        head, rest = text[: found.start()], text[found.end() : found.end() + READ]
        if found[0] == "\n":
            # After a line break there may be a second request.
            if _is_on_text(head, lexicon) and not _has_request(rest, lexicon):
                return found.end()
        elif _is_on_text(head, lexicon, may_be_label=True):
            then = WORD.match(rest.lstrip().lower())
            return found.end() if then is None or then[0] not in lexicon.goes_on else 0
    if (stop := _STOP.search(text, 0, TASK)) and len(text) > 2 * TASK:
        first, rest = text[: stop.start()], text[stop.end() : stop.end() + READ]
        names_it = not lexicon.given.isdisjoint(WORD.findall(first.lower()))
        if names_it and _is_on_text(first, lexicon) and not _has_request(rest, lexicon):
            return stop.end()
    return 0


def start_of_easy_tail(text: str, lexicon: Lexicon) -> int:
    """Return the start of an easy request about the document before it; 0 if there is none."""
    body = text.rstrip()
    start = body.rfind("\n", -LAST) + 1
    if start < BEFORE and width(body[:start]) < BEFORE:
        return 0
    last = body[start:].lower()
    words = WORD.findall(last)
    names_it = not lexicon.given.isdisjoint(words)
    signs = sum(map(len, NO_SPACES.findall(last)))
    is_short = signs <= FEW_SIGNS if signs else len(words) <= FEW_WORDS
    if not (is_short or names_it or not lexicon.pointing.isdisjoint(words)):
        return 0
    if not _is_on_text(last, lexicon):
        return 0
    before = body[max(0, start - READ) : start]
    is_question = "?" in before or "\uff1f" in before
    if (is_question and not names_it) or before.rstrip().endswith(":"):
        return 0
    return 0 if _has_request(body[: min(start, READ)], lexicon) else start


def asks_for(ask: str, lexicon: Lexicon) -> tuple[bool, bool]:
    """Return whether a text asks for an easy task and nothing hard, and whether for a hard one."""
    words, _, cues = _cues_of(ask, lexicon)
    is_hard = _is_hard(words, cues, lexicon)
    return not is_hard and any(cue.is_easy_task for cue in cues), is_hard


def _is_on_text(ask: str, lexicon: Lexicon, *, may_be_label: bool = False) -> bool:
    """Return whether a request is to do something easy with a text: "summarize this".

    `may_be_label`: a colon follows, so that "tl;dr" only announces what comes.
    """
    words, runs, cues = _cues_of(ask.replace("\u2019", "'"), lexicon)
    if names_any(words, TLDR) and len(words) <= 3 and not may_be_label:
        return True
    if _has_word(words, runs, lexicon.not_it) or names_any(words, lexicon.goes_on):
        return False
    strength = sum(cue.strength for cue in cues if cue.facet == "on_text")
    return strength >= 1 and not _is_hard(words, cues, lexicon)


def _has_request(text: str, lexicon: Lexicon) -> bool:
    """Return whether a sentence of a text asks for something that is not easy.

    A verb at its beginning asks ("prove that ..."), or a hard word after "I need you to".
    """
    for sentence in _SENTENCES.split(text, MOST_SENTENCES):
        words, runs, cues = _cues_of(sentence, lexicon)
        verb = next((w for w in words if w not in lexicon.goes_on and w not in lexicon.wants), "")
        if verb in lexicon.work or verb in lexicon.demand:
            return True
        facets = {cue.facet for cue in cues}
        asks = {cue.facet for cue in cues if cue.word.split()[0] == verb}
        if "hard" in asks or ("makes" in asks and not facets.isdisjoint(BUILDS)):
            return True
        if _has_word(words, runs, lexicon.wants) and not facets.isdisjoint(WORK):
            return True
    return False


def _cues_of(text: str, lexicon: Lexicon) -> tuple[list[str], list[str], list[Found]]:
    """Return the words of a text, its parts without spaces, and its cues."""
    low = text.lower()
    words = WORD.findall(low)
    runs = [] if low.isascii() else NO_SPACES.findall(low)
    return words, runs, cues_in(words, set(words), None, runs, lexicon)


def _is_hard(words: list[str], cues: list[Found], lexicon: Lexicon) -> bool:
    # "Grammar" is a term of experts, too.
    easy = {cue.word for cue in cues if cue.is_easy_task}
    is_hard = any(cue.facet in HARD_TASKS and cue.word not in easy for cue in cues)
    return is_hard or names_any(words, lexicon.demand)


def _has_word(words: list[str], runs: list[str], entries: frozenset[str]) -> bool:
    """Return whether a text has one of the words, which in scripts without spaces are parts."""
    if not entries.isdisjoint(words):
        return True
    return any(entry in run for run in runs for entry in entries if entry[0] >= SPACELESS_FROM)


def width(text: str) -> int:
    """Return the number of letters that a text would have in a script with spaces."""
    if text.isascii() or len(text) >= DOCUMENT:
        return len(text)
    return len(text) + 2 * sum(map(len, NO_SPACES.findall(text)))
