"""Decodes base64, hexadecimal and quoted-printable in a text; joins keys cut in pieces.

Both searches begin at the runs of a text (runs.py), of which ordinary text has few. Decoded text is
shorter than its code and each place is read once, so the time is linear.
"""

import base64
import re
from collections.abc import Iterator
from typing import Final

from router.privacy.randomness import jumps
from router.privacy.runs import Run, Text
from router.privacy.texts import UNREADABLE

_B64: Final = rb"[A-Za-z0-9+/_-]"
_BREAK: Final = rb"\r?\n[ \t>]{0,16}"
_HEXADECIMAL: Final = rb"(?:\\?x|0x)?((?:[2-7][0-9A-Fa-f]|0[9ADad]){13,})"
_BASE64: Final = (
    # The first nine bytes are ASCII, so some of their bits are never set: few other runs begin so.
    rb"(?=(?:[A-Za-f][A-HQ-Xg-nw-z0-3][ABEFIJMNQRUVYZcdghklopstwx014589]%(c)b){3})"
    # Programs that wrap base64 write at least 60 characters on a line.
    rb"(?:%(c)b{56,}+%(break)b(?=%(c)b))*+%(c)b++" % {b"c": _B64, b"break": _BREAK}
)
_BREAKS: Final = re.compile(_BREAK)
_BASE64_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_CODE: Final = re.compile(rb"%b|%b" % (_HEXADECIMAL, _BASE64))
_HEX_DIGITS: Final = b"0123456789abcdefABCDEF"
_DIGESTS: Final = frozenset({32, 40, 64, 128})
"""Lengths of digests in hexadecimal. Lists of files have thousands of them, one after the other."""

_PIECE: Final = rb"[A-Za-z0-9_.+/~-]"
_EDGE: Final = "(?:│|┃|║|\\|)".encode()
"""The edge of a box in a terminal or of a table."""
_EDGE_BACK: Final = b"(?:" + b"|".join(e.encode()[::-1] for e in "│┃║") + b"|\\|)"
_LINE_END: Final = (
    rb"=?[ \t]{0,8}(?:[\\`^]|[ \t]{0,80}%(e)b)?\r?\n"
    rb"[ \t]{0,40}(?:[>#*+-][ >]{0,3}|//[ ]?|\\|%(e)b[ \t]{0,8})?" % {b"e": _EDGE}
)
_TAG: Final = rb"(?:</?(?:a|b|br|code|em|font|i|mark|span|strong|u|wbr)(?:[ /][^<>]{0,100})?>){1,4}"
_COMMENT: Final = rb"<!--[^<>]{0,60}-->|\]\]><!\[CDATA\[|\*\*"
"""Of HTML or XML; and Markdown's mark of bold text."""
_QUOTES: Final = rb"[\"'`][ \t\r\n\\+.&|_]{0,60}[rbufL]?[\"'`]"
_JOINT: Final = re.compile(rb"(?:%b|%b|%b|%b)(?=%b)" % (_LINE_END, _QUOTES, _TAG, _COMMENT, _PIECE))
"""Between two pieces: the end of a line, also escaped; `" + "` and the like; a tag of HTML."""
_PIECES: Final = re.compile(rb"%(p)b++((?:%(j)b%(p)b++)*+)" % {b"p": _PIECE, b"j": _JOINT.pattern})
_PIECES_BEFORE: Final = re.compile(
    rb"%(p)b{0,160}(?:(?:(?:[ >]{0,3}[>#*+-]|[ ]?//|\\|[ \t]{0,8}%(e)b)?[ \t]{0,40}\n\r?"
    rb"(?:[\\`^]|%(e)b[ \t]{0,80})?[ \t]{0,8}=?|[\"'`][rbufL]?[ \t\r\n\\+.&|_]{0,60}[\"'`]"
    rb"|(?:>[^<>]{1,110}<){1,4}|\[ATADC\[!<>\]\]|\*\*)%(p)b{1,160}){0,2}"
    % {b"p": _PIECE, b"e": _EDGE_BACK}
)
"""Up to two pieces before a run, with their joints, in text that is read backwards."""
_BEFORE_RUN: Final = frozenset(b".+/~\"'`\n\t >|#*-[\\" + "│┃║".encode())
"""The last byte of a joint, or of a piece that is no run itself."""
_REACH: Final = 280
"""Bytes before a run that are looked at for such pieces."""
_MOST_PIECES: Final = 40
"""More pieces are a list of separate values, not one key."""
_FEW_PIECES: Final = 8
"""Up to this many pieces are joined a second time, without the last one."""
_DIGIT: Final = re.compile(rb"[0-9]")

# A digest such as `sha256=3D...` may begin like an escape.
_QUOTED_PRINTABLE: Final = re.compile(rb"=(?=3D|[0-9A-F]{2}=[0-9A-F]{2})(?<!sha256=)")
_QUOTED: Final = re.compile(rb"=\r?\n|((?:=(?<!sha256=)[0-9A-F]{2})+)")


def hidden_in(text: Text) -> bytes:
    """Return all decoded and joined pieces of a text, in UTF-8; nothing if it has none."""
    pieces = b"\n\n".join([*_decoded(text), *_joined(text)])
    return pieces.decode("utf-8", "ignore").encode()


def unquoted(text: bytes) -> bytes:
    """Decode quoted-printable; return nothing if the text has no sign of it."""
    if b"=" not in text or not _QUOTED_PRINTABLE.search(text):
        return b""
    return _QUOTED.sub(_letters, text)


def _letters(quoted: re.Match[bytes]) -> bytes:
    digits = (quoted[1] or b"").replace(b"=", b"").decode()
    return bytes.fromhex(digits).decode("utf-8", "replace").encode()


def _decoded(text: Text) -> Iterator[bytes]:
    """Yield the texts in base64 and in hexadecimal, decoded."""
    data, done = text.data, 0
    for start, _ in _places(text):
        if start < done:
            continue
        if start and data[start - 1] in b"+/":  # characters of base64 that end a run
            before = data[max(0, start - 16) : start]
            start -= len(before) - len(before.rstrip(_BASE64_BYTES))
        if (code := _CODE.match(data, start)) is None:
            continue
        done = code.end()
        if code[1]:
            yield bytes.fromhex(code[1].decode())
        elif _is_text(decoded := _from_base64(code.group())):
            yield decoded


def _places(text: Text) -> list[Run]:
    return sorted([*text.uneven, *text.gaps]) if text.gaps else text.uneven


def _from_base64(code: bytes) -> bytes:
    digits = _BREAKS.sub(b"", code).translate(_STANDARD)
    if len(digits) % 4 == 1:  # the last one belongs to something else
        digits = digits[:-1]
    return base64.b64decode(digits + b"=" * (-len(digits) % 4))


def _is_text(data: bytes) -> bool:
    """Return whether this is UTF-8, or text but for a few bytes."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return len(data.translate(None, UNREADABLE)) * 10 >= len(data) * 9
    return True


def _joined(text: Text) -> Iterator[bytes]:
    """Yield values that are cut at the ends of lines or into added strings, joined."""
    data, done, last_digest = text.data, 0, 0
    for start, end in text.unlike_words:
        size = end - start
        is_digest = size in _DIGESTS and not data[start:end].strip(_HEX_DIGITS)
        is_in_list = is_digest and size == last_digest
        last_digest = size if is_digest else 0
        if start < done or is_in_list:
            continue
        if start and data[start - 1] in _BEFORE_RUN:
            before = _PIECES_BEFORE.match(data[max(done, start - _REACH) : start][::-1])
            start -= before.end() if before else 0
        if (pieces := _PIECES.match(data, start)) is not None:
            done = pieces.end()
            if pieces[1]:
                yield from _whole(pieces.group())


def _whole(cut: bytes) -> Iterator[bytes]:
    """Yield the joined pieces of a key. Few pieces also come without the last: it may be a word.

    Words at the ends of lines are skipped: they have no digits and few changes of case.
    """
    pieces = _JOINT.split(cut)
    if len(pieces) > _MOST_PIECES:
        return
    sizes = [len(pieces)]
    if 2 < len(pieces) <= _FEW_PIECES:
        sizes.append(len(pieces) - 1)
    for size in sizes:
        whole = b"".join(pieces[:size])
        if _DIGIT.search(whole) or jumps(whole) * 6 >= len(whole):
            yield whole
