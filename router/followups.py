"""What a turn owes to the conversation before it.

"Continue", "yes, do it" and "why?" ask for as much as what they refer to; "thanks!" asks for
nothing, whatever came before. A short turn therefore inherits part of the need of the turns
before it, the shorter the more; the need fades from turn to turn. A turn that is hard in itself
inherits nothing: going up is free.
"""

import re
from typing import Final

FADE: Final = 0.93
"""What is left of the conversation's need a human turn later."""
SHORT: Final = 3
"""Words up to which a turn says nothing by itself."""
LONG: Final = 30
"""Words from which it stands for itself."""
CLOSING_CAP: Final = 20.0
"""The score that "thanks!" and its like cannot exceed."""
EASY_SHARE: Final = 0.3
"""How much of its share a short turn inherits that asks for something easy ("in Italian")."""

_CLOSINGS: Final = frozenset(
    """
    thanks thank thx ty cheers bye goodbye great perfect nice cool awesome excellent wonderful
    lovely brilliant danke dankeschön tschüss super perfekt prima merci parfait génial gracias
    perfecto genial obrigado obrigada perfeito grazie perfetto ciao спасибо отлично благодарю пока
    dank bedankt tack takk tak dziękuję děkuji teşekkürler sağol terima kasih cảm ơn धन्यवाद
    शुक्रिया شكرا شكراً ขอบคุณ תודה ευχαριστώ kiitos köszönöm дякую
    谢谢 多谢 谢啦 謝謝 感謝 ありがとう ありがとうございます どうも 감사합니다 고마워 고마워요
    """.split()
)
_CLOSING_SIGNS: Final = ("谢谢", "謝謝", "多谢", "ありがとう", "감사", "고마워")
# Words that may stand around a closing without making it a request.
_POLITE: Final = frozenset(
    """
    a lot so much very for your the you that that's this is it i now all helps helped help works
    worked clear got understood ok okay really and well done good job was exactly what needed
    have day vielen vielmals schön sehr das war alles hilfe für die beaucoup bien très muchas
    mille muito mil большое всё tout compris aide ayuda pela ajuda por la pour votre ton
    """.split()
)
_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")


def is_closing(text: str) -> bool:
    """Is this turn nothing but thanks, praise or goodbye?"""
    if len(text) > 120 or "?" in text or "\uff1f" in text:
        return False
    words = _WORD.findall(text.lower())
    if any(sign in text for sign in _CLOSING_SIGNS) and len(text) <= 16:
        return True
    return any(word in _CLOSINGS for word in words) and all(
        word in _CLOSINGS or word in _POLITE for word in words
    )


def inherited_share(n_words: int, easy: bool) -> float:
    """The part of the conversation's need that a turn of this many words inherits, 0 to 1."""
    if n_words <= SHORT:
        share = 1.0
    elif n_words >= LONG:
        share = 0.0
    else:
        share = (LONG - n_words) / (LONG - SHORT)
    return share * EASY_SHARE if easy else share


def points(text: str, own: float, n_words: int, easy: bool, need: float) -> float:
    """Points that the conversation adds to a turn's own score; below 0 only for a closing."""
    if is_closing(text):
        return min(0.0, CLOSING_CAP - own)
    return max(0.0, inherited_share(n_words, easy) * (FADE * need - own))


def need_after(text: str, total: float, n_words: int, need: float) -> float:
    """The need that a turn leaves behind: its own, unless it was too short to change the topic."""
    if n_words <= SHORT or is_closing(text):
        return max(total, FADE * need)
    return total
