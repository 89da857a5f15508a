"""Long texts of many kinds, to time what reads them."""

import base64
import json
import random
import string
from pathlib import Path

from tests.support.keys import made_up


def many_kinds_of_text(size: int) -> dict[str, str]:
    dice = random.Random(1)
    words = [made_up(string.ascii_lowercase, dice.randrange(3, 12), str(i)) for i in range(500)]
    code = Path(random.__file__).read_text(encoding="utf-8") * (size // 30_000)
    return {
        "prose": " ".join(dice.choices(words, k=size // 8)),
        "code": code,
        "nested": json.dumps(json.dumps({"code": code[: size * 3 // 4]})),
        "escapes": "\\u0041" * (size // 6),
        "percents": "%2541" * (size // 5),
        "entities": "&amp;amp;" * (size // 9),
        "colours": "\x1b[1ma\x1b[0m" * (size // 9),
        "accents": "e\u0301\u200b " * (size // 6),
        "hashes": "\n".join(f"{dice.randbytes(20).hex()} file{i}" for i in range(size // 50)),
        "picture": "data:image/png;base64," + base64.b64encode(dice.randbytes(size // 2)).decode(),
        "no spaces": "a" * size,
        "dashes": "sk-" * (size // 3),
        "dots": "eyJ." * (size // 4),
        "chinese": "路由器说明文档" * (size // 21),
    }
