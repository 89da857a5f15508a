import random
import time

import pytest

from router.privacy.normalize import normalize
from router.privacy.patterns import Words


def find(words: list[str], text: str) -> int | None:
    return next(Words(words).find(normalize(text)), None)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("falcon", "the Falcon has landed"),
        ("Falcon", "FALCON."),
        ("falcon", "line\nfalcon\nline"),
        ("falcon", "tab\tfalcon\ttab"),
        ("falcon", "project_falcon_v2"),
        ("falcon", "falcon"),
        ("falcon", "no falconry, but a falcon"),
        ("Project Titan", "about project  titan"),
        ("Project Titan", "about project\n   titan"),
        ("acme.example", "mail bob@acme.example today"),
        ("R&D-42", "the r&d-42 budget"),
        ('the "big" one', 'it is the "big" one'),
        ("Zürich", "nach ZÜRICH, bitte"),
        ("Ελλάδα", "η ελλάδα"),
        ("代号", "我们的代号是什么"),
        ("اسم", "والاسم"),
    ],
)
def test_a_word_is_found(word: str, text: str) -> None:
    assert find(["unrelated", word], text) == 2


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("falcon", "falconry"),
        ("falcon", "a gyrfalcon"),
        ("falcon", "falcon9"),
        ("project titan", "project the titan"),
        ("acme.example", "acmeXexample"),
        ("42", "142"),
        ("Zürich", "Zürichsee"),
    ],
)
def test_part_of_another_word_is_not_found(word: str, text: str) -> None:
    assert find([word], text) is None


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"PRJ-\d{4}", "see PRJ-1234"),
        (r"ticket-\d+", "ticket-7"),
        (r"\bTX\w+\b", "line\nTXabc\n"),
        (r"\w+@acme\.example", "to bob@acme.example"),
        (r"(?i)acme.*plan", "the ACME and its Plan"),
        (r"(internal|secret)-[a-f0-9]{8}", "secret-0a1b2c3d"),
        (r"\d{3}-\d{2}-\d{4}", "078-05-1120"),
        (r"say \"yes\"", 'say "yes"'),
        (r"a??b{2,}", "abb"),
        (r"colou?r", "color"),
        (r"[^a-z]X{1,3}", "1XX"),
        (r"(?:ab){2,5}!", "ababab!"),
        (r"(\d+)?kg", "kg"),
    ],
)
def test_a_pattern_is_found(pattern: str, text: str) -> None:
    assert find([pattern], text) == 1


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"PRJ-\d{4}", "prj-1234"),
        (r"\bTX\w+\b", "aTXabc"),
        (r"acme.*plan", "acme" + "x" * 100 + "plan"),
    ],
)
def test_a_pattern_is_exact(pattern: str, text: str) -> None:
    assert find([pattern], text) is None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a+)+", "a repeat or a choice within a repeat"),
        (r"(a|a)*b", "a repeat or a choice within a repeat"),
        (r"((ab){2}c){3}", "a repeat or a choice within a repeat"),
        (r"xa*b*c*y", "too many repeats"),
        (r"xa?a?a?a?a?a?a?a?b", "too many repeats"),
        (r"(?=x)y", "no lookaround"),
        (r"(?<!x)y", "no lookaround"),
        (r"(?P<n>x)", "no lookaround, names"),
        (r"(x)\1", "references back"),
        (r"^x", r"\\b is a word's edge"),
        (r"x$", r"\\b is a word's edge"),
        (r"*x", "a repeat of nothing"),
        (r"x|+", "a repeat of nothing"),
        (r"x{2}{3}", "a repeat of nothing"),
        (r"x{3,2}", "the smaller number first"),
        (r"x{1,100000}", "at most 200"),
        (r"foo(", r"a \( without its \)"),
        (r"foo)", r"a \) without its \("),
        (r"foo[a-z", r"a \[ without its \]"),
        (r"x{1", r"a \{ without its \}"),
        (r"1}", r"a \} without its \{"),
        ("x\\", r"a \\ at the end"),
        (r"x*", "matches everything"),
        (r"x*y?", "matches everything"),
        (r"[a-z]\w+ Corp", "begin with four plain characters"),
        (r"a|", "matches everything"),
        (r"[z-a]", "it is not a pattern"),
        (r"\q", "it is not a pattern"),
        ("", "it is empty"),
    ],
)
def test_a_slow_or_meaningless_pattern_is_refused(pattern: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^PRIVATE_PATTERNS: entry 2: .*{why}") as failure:
        Words(["fine", pattern])
    assert "\n" not in str(failure.value)
    if len(pattern) > 3:
        assert pattern not in str(failure.value)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "pattern",
    [
        r"\w+@acme\.example",
        r"\w+@",
        r"acme.*plan",
        r"(a|b|ab)c{2,5}d",
        r"[a-z]{1,90}[0-9]?!",
        r"a{100}b",
        r"(?i)x?y?z?a{20}b",
    ],
)
@pytest.mark.parametrize("filler", ["a", "acme", "a@", "ab", "abcc", "a1", "acme plan "])
def test_every_accepted_pattern_runs_in_linear_time(pattern: str, filler: str) -> None:
    words = Words([pattern])

    def seconds(size: int) -> float:
        text = filler * (size // len(filler))
        began = time.process_time()
        list(words.find(text))
        return time.process_time() - began

    small = min(seconds(5_000) for _ in range(3))
    large = min(seconds(100_000) for _ in range(2))
    assert large < 20 * small * 4 + 0.02


def test_random_patterns_are_refused_or_run_in_bounded_time() -> None:
    dice = random.Random(7)
    pieces = [
        "a",
        "b",
        "(",
        ")",
        "|",
        "*",
        "+",
        "?",
        "{2}",
        "{0,3}",
        "{,",
        "[ab]",
        ".",
        r"\w",
        "\\",
    ]
    accepted = 0
    for _ in range(3000):
        pattern = "".join(dice.choices(pieces, k=dice.randrange(2, 10)))
        try:
            words = Words([pattern])
        except ValueError:
            continue
        accepted += 1
        began = time.process_time()
        list(words.find("ab" * 500 + "a" * 500))
        assert time.process_time() - began < 0.5, pattern
    assert accepted > 100
