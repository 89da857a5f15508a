"""Separates the instruction of a turn from the code, logs, tables and documents pasted with it."""

import re
from typing import Final

from router.scoring.cues import WORD
from router.scoring.lexicon import Lexicon
from router.scoring.text_tasks import (
    DOCUMENT,
    asks_for,
    end_of_easy_head,
    start_of_easy_tail,
    width,
)

HEAD: Final = 2_000
TAIL: Final = 1_000
LONG: Final = 2_500
"""Longer texts, in characters, count as an instruction with a document."""
ASK: Final = 700
"""Longer paragraphs, in characters, are no instruction."""

FENCE: Final = "```"

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
    if end := end_of_easy_head(text, lexicon):
        return text[:end], None
    if start := start_of_easy_tail(text, lexicon):
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
    if width(prose) >= DOCUMENT:
        ask = _ends(head, tail)
        if asks_for(ask, lexicon)[0]:
            return ask, None
    if len(text) > LONG:
        return prose, None
    if len(prose) == len(text) or not WORD.search(prose):
        return text, None
    return prose, text


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


def _ends(head: str, tail: str) -> str:
    return "\n".join(part for part in (_first_paragraph(head), _last_paragraph(tail)) if part)


def _first_paragraph(head: str) -> str:
    found = _BLANK.search(head)
    return head[: found.start()] if found and found.start() <= ASK else ""


def _last_paragraph(tail: str) -> str:
    cut = tail.rfind("\n\n")
    last = tail[cut:].strip() if cut >= 0 else ""
    if 0 < len(last) <= ASK and FENCE not in last and ("?" in last or len(last) < 300):
        return last
    return ""
