"""Separates the instruction of a turn from the code, logs, tables and documents pasted with it."""

import re
from typing import Final

from router.scoring.cues import HARD_TASKS, NO_SPACES, WORD, cues_in, names_any
from router.scoring.lexicon import Lexicon

HEAD: Final = 2_000
TAIL: Final = 1_000
LONG: Final = 2_500
"""Longer texts, in characters, count as an instruction with a document."""
ASK: Final = 700
"""Longer paragraphs, in characters, are no instruction."""
DOCUMENT: Final = 500
"""If the task is easy, a text of this many characters counts as a document."""
CLEARLY: Final = 1.5
"""A cue of this strength marks an easy task, even with a short text."""
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
OPENING: Final = 4
"""Words of a line in which its request is looked for."""

FENCE: Final = "```"

_COLON: Final = re.compile(r":\s|:$|\n|\uff1a")
_STOP: Final = re.compile(r"[.!?]\s|\u3002")
_BLANK: Final = re.compile(r"\n[ \t]{0,8}\n")

# Pasted lines: code, logs, tables, quoted mail; lines indented by four, except lists.
_PASTED: Final = re.compile(
    r"^(?:[ \t]{0,40}[>|{}\[\]<][^\n]{0,2000}"
    r"|(?: {4}|\t)[ \t]{0,60}[^-*\u2022\d \t\n][^\n]{0,2000}"
    r"|[^\n]{0,400}[;{}][ \t]{0,8}"
    r"|[ \t]{0,40}(?:[\"'][^\"'\n]{1,80}[\"'] ?:|//|/\*|\$ |#include|Traceback|at [\w.$]{1,80}\()"
    r"[^\n]{0,2000}"
    r"|(?:from [\w.]{1,80} )?import [\w.*]{1,80}(?:,? [\w.*]{1,40}){0,20}"
    r"|(?:async )?(?:def|class|function|func|fn) \w{1,60} ?[(:{][^\n]{0,2000}"
    r"|\[?\d{2,4}[-/:.]\d\d[-/:.]\d\d[^\n]{0,2000}"
    r"|[^\t\n]{0,80}\t[^\t\n]{0,80}\t[^\n]{0,2000}"
    r"|(?:[^,\n]{0,40},(?! )){2,40}[^,\n]{0,40})$",
    re.MULTILINE,
)
# "Text: ..." up to the end of the paragraph.
_GIVEN: Final = re.compile(
    r"^[ \t]{0,8}[^\w\n]{0,4}(\w[\w -]{0,30})[^\w\n:\uff1a]{0,4}[:\uff1a]"
    r"[^\w\n]{0,4}\n?[^\n]{1,2000}",
    re.MULTILINE,
)
_QUOTED_BLOCK: Final = re.compile(
    '^["\u201c\u201e\u00ab\u300c][^"\u201c\u201d\u00bb\u300d]{200,2000}["\u201c\u201d\u00bb\u300d]',
    re.MULTILINE,
)


def split(text: str, lexicon: Lexicon) -> tuple[str, str | None]:
    """Return a turn's instruction, and the text whose forms are counted (None: the instruction).

    Of pasted code, logs, tables and quoted mail, the forms count but not the words. Of a document
    with an easy task, only the size counts.
    """
    if end := _end_of_easy_head(text, lexicon):
        return text[:end], None
    if start := _start_of_easy_tail(text, lexicon):
        return text[start:], None
    if len(text) <= LONG and "\n" not in text:
        return text, None
    if len(text) > LONG:
        head, tail = _prose(text[:HEAD], lexicon), text[-TAIL:]
        if text.count(FENCE, 0, len(text) - TAIL) % 2:
            tail = FENCE + tail
        tail = _prose(tail, lexicon)
        prose = f"{head}\n{tail}"
    else:
        head = tail = prose = _prose(text, lexicon)
    if _width(prose) >= DOCUMENT:
        ask = _ends(head, tail)
        if _asks_for(ask, lexicon)[0]:
            return ask, None
    if len(text) > LONG:
        return prose, None
    if len(prose) == len(text) or not WORD.search(prose):
        return text, None
    return prose, text


def _end_of_easy_head(text: str, lexicon: Lexicon) -> int:
    """Return the end of an easy request that a document follows; 0 if there is none."""
    if found := _COLON.search(text, 0, TASK):
        easy, _ = _asks_for(text[: found.start()], lexicon)
        # A text follows a colon. After a line break there may be a second request.
        if easy >= CLEARLY and (found[0] != "\n" or not _has_request(text[found.end() :], lexicon)):
            return found.end()
    if (stop := _STOP.search(text, 0, TASK)) and len(text) > 2 * TASK:
        first = text[: stop.start()]
        names_it = not lexicon.given.isdisjoint(WORD.findall(first.lower()))
        if names_it and _asks_for(first, lexicon)[0] >= CLEARLY:
            return stop.end()
    return 0


def _start_of_easy_tail(text: str, lexicon: Lexicon) -> int:
    """Return the start of an easy request about the document before it; 0 if there is none."""
    body = text.rstrip()
    start = body.rfind("\n", -LAST) + 1
    if start < BEFORE and _width(body[:start]) < BEFORE:
        return 0
    last = body[start:].lower()
    words = WORD.findall(last)
    points_at_it = not lexicon.pointing.isdisjoint(words) or not lexicon.given.isdisjoint(words)
    signs = sum(map(len, NO_SPACES.findall(last)))
    is_short = signs <= FEW_SIGNS if signs else len(words) <= FEW_WORDS
    if not (points_at_it or is_short) or not lexicon.goes_on.isdisjoint(words):
        return 0
    before = body[:start].rstrip()
    if before.endswith(("?", "\uff1f", ":")) or _has_request(before, lexicon):
        return 0
    return start if _asks_for(last, lexicon)[0] >= CLEARLY else 0


def _has_request(text: str, lexicon: Lexicon) -> bool:
    """Return whether a line of the first ASK characters opens with a request that is not easy."""
    for line in text[:ASK].splitlines():
        words = WORD.findall(" ".join(line.lower().split(maxsplit=OPENING)[:OPENING]))
        if names_any(words, lexicon.demand):
            return True
        # Terms of experts begin documents, too.
        if any(cue.facet == "hard" for cue in cues_in(words, set(words), None, [], lexicon)):
            return True
    return False


def _prose(text: str, lexicon: Lexicon) -> str:
    """Return a text without the code, logs, tables and mail that were pasted into it."""
    if FENCE in text:
        text = "\n".join(text.split(FENCE)[::2])
    text = _QUOTED_BLOCK.sub("", text)
    if ":" in text or "\uff1a" in text:
        text = _GIVEN.sub(lambda found: "" if _is_label(found[1], lexicon) else found[0], text)
    return _PASTED.sub("", text)


def _is_label(label: str, lexicon: Lexicon) -> bool:
    """Return whether this is a heading of a pasted text: "Text", "Hotel description"."""
    last = label.lower().split()[-1]
    return last in lexicon.given or last[-2:] in lexicon.given


def _width(text: str) -> int:
    """Return the number of letters that a text would have in a script with spaces."""
    if text.isascii() or len(text) >= DOCUMENT:
        return len(text)
    return len(text) + 2 * sum(map(len, NO_SPACES.findall(text)))


def _ends(head: str, tail: str) -> str:
    return "\n".join(part for part in (_first_paragraph(head), _last_paragraph(tail)) if part)


def _asks_for(ask: str, lexicon: Lexicon) -> tuple[float, bool]:
    """Return the strength of the easy task asked for (0: none), and whether a hard one is."""
    low = ask.lower()
    words = WORD.findall(low)
    runs = [] if low.isascii() else NO_SPACES.findall(low)
    cues = cues_in(words, set(words), None, runs, lexicon)
    easy = {cue.word: cue.strength for cue in cues if cue.is_easy_task}
    # "Grammar" is a term of experts, too.
    hard = any(cue.facet in HARD_TASKS and cue.word not in easy for cue in cues)
    if hard or names_any(words, lexicon.demand):
        return 0.0, True
    return max(easy.values(), default=0.0), False


def _first_paragraph(head: str) -> str:
    found = _BLANK.search(head)
    return head[: found.start()] if found and found.start() <= ASK else ""


def _last_paragraph(tail: str) -> str:
    cut = tail.rfind("\n\n")
    last = tail[cut:].strip() if cut >= 0 else ""
    if 0 < len(last) <= ASK and FENCE not in last and ("?" in last or len(last) < 300):
        return last
    return ""
