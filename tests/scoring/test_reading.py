"""Reading one turn: in bounded time whatever it is, the instruction apart from the document."""

import re
import time
from collections.abc import Iterator
from importlib import import_module
from math import log
from typing import Any, Final

import pytest

from router.classifier import score_messages
from router.scoring import cues, followups, instruction, reading, text_tasks, turns
from router.scoring.instruction import HEAD, LONG, TAIL, split
from router.scoring.lexicon import load
from router.scoring.reading import read

# --- every pattern runs in linear time -----------------------------------------------------------

# How Python itself reads a pattern; typed in some environments and not in others.
parser: Any = import_module("re._parser")
code: Any = import_module("re._constants")

ALPHABET: Final = [chr(n) for n in (*range(0x250), *range(0x370, 0x530), 0x2022, 0x3002, 0x4E2D)]
REPEATS: Final = {code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT}
SETS: Final = {code.IN, code.LITERAL, code.NOT_LITERAL, code.ANY, code.CATEGORY, code.RANGE}


def hazards(pattern: re.Pattern[str]) -> Iterator[str]:
    """Yield the parts of a pattern that could make a search take more than linear time."""
    yield from hazards_in(list(parser.parse(pattern.pattern, pattern.flags)), [], is_last=True)


def hazards_in(items: list[Any], before: list[Any], *, is_last: bool) -> Iterator[str]:
    """`before`: the unbounded sets that this sequence is repeated in or stands behind."""
    seen_fixed = bool(before)
    for at, (op, argument) in enumerate(items):
        ends = is_last and at == len(items) - 1
        if op is code.SUBPATTERN:
            yield from hazards_in(list(argument[3]), before, is_last=ends)
            seen_fixed = True
        elif op is code.BRANCH:
            for way in argument[1]:
                yield from hazards_in(list(way), before, is_last=ends)
            seen_fixed = True
        elif op in REPEATS:
            least, most, body = argument
            if most is code.MAXREPEAT:
                yield from unbounded(list(body), before, items[at + 1 :], seen_fixed, ends)
                before = [*before, list(body)]
            elif any(o in REPEATS for o, _ in body):
                yield from hazards_in(list(body), before, is_last=ends)
            seen_fixed |= least > 0
        elif op in SETS:
            before, seen_fixed = [], True


def unbounded(
    body: list[Any], before: list[Any], after: list[Any], seen_fixed: bool, ends: bool
) -> Iterator[str]:
    if len(body) == 1 and body[0][0] in SETS:
        found = members(body)
        if body[0][0] in (code.ANY, code.NOT_LITERAL) or len(found) > len(ALPHABET) * 0.9:
            yield "an open repeat of nearly anything"
        if any(found & members(other[:1]) for other in before if other[0][0] in SETS):
            yield "two repeats that can share characters"
        if not seen_fixed and not (ends or all(is_optional(item) for item in after)):
            yield "begins with a repeat and goes on"
        return
    first = members(body[:1]) if body[0][0] in SETS else set(ALPHABET)
    if any(first & members(other) for other in before) or first == set(ALPHABET):
        yield "a repeat of something that can match in more than one way"
    yield from hazards_in(body[1:], [body[:1]], is_last=False)


def is_optional(item: Any) -> bool:
    return item[0] in REPEATS and item[1][0] == 0


def members(items: list[Any]) -> set[str]:
    """The characters that a single set matches."""
    state = parser.State()
    state.str = ""
    one = parser.SubPattern(state, items[:1])
    compiled = re._compiler.compile(one)  # type: ignore[attr-defined]
    return {sign for sign in ALPHABET if compiled.fullmatch(sign)}


PATTERNS: Final = {
    f"{module.__name__}.{name}": value
    for module in (cues, followups, instruction, reading, text_tasks, turns)
    for name, value in vars(module).items()
    if isinstance(value, re.Pattern)
}


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS)
def test_every_pattern_is_linear(pattern: re.Pattern[str]) -> None:
    assert list(hazards(pattern)) == []


@pytest.mark.parametrize(
    "pattern",
    ["first.*then", "(a+)+", "(?:a|b*)*c", "a*b", r"\s+$", "[ab]*[bc]*d", "x(?:[a-z]+)*y", "[^z]*"],
)
def test_a_pattern_that_is_not_would_be_noticed(pattern: str) -> None:
    assert list(hazards(re.compile(pattern)))


# --- any input costs the same --------------------------------------------------------------------

HOSTILE: Final = {
    "prose": "The committee met again on Tuesday. ",
    "code": "def f(a, b):\n    return a[0] + b\n\n",
    "one word": "a",
    "spaces": " ",
    "newlines": "\n",
    "blank lines": "\n    \n",
    "question marks": "?",
    "backticks": "`",
    "quotes": "'\"",
    "first without then": "first ",
    "pipes": "| a ",
    "brackets": "{[(",
    "numbers": "1. ",
    "choices": "A. x\n",
    "backslashes": "\\frac",
    "words with hyphens": "a-b'c",
    "Chinese": "请解释一下这个问题。",
    "Hindi": "कृपया समझाइए ",
    "combining marks": "e\u0301\u0302",
    "NUL": "\x00",
    "unknown words": "xqzv bnmw ",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("size", [LONG + 1, 400_000, 2_000_000])
def test_little_of_a_long_text_is_read(unit: str, size: int) -> None:
    text = (unit * (size // len(unit) + 1))[:size]
    ask, _ = split(text, load())
    assert len(ask) <= HEAD + TAIL + 1  # a line break between the ends
    found = read(text, load())
    assert found.n_words <= HEAD + TAIL


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE)
def test_ten_times_the_text_does_not_take_ten_times_as_long(unit: str) -> None:
    def seconds(size: int) -> float:
        messages = [{"role": "user", "content": (unit * (size // len(unit) + 1))[:size]}]
        took = []
        for _ in range(3):
            began = time.thread_time()
            score_messages(messages)
            took.append(time.thread_time() - began)
        return min(took)

    assert seconds(1_000_000) < 5 * seconds(100_000) + 0.02


def test_a_conversation_costs_no_more_the_longer_it_is() -> None:
    turn = [{"role": "user", "content": "prove it " * 2_000}, {"role": "assistant", "content": "x"}]

    def seconds(turns: int) -> float:
        began = time.thread_time()
        score_messages(turn * turns)
        return time.thread_time() - began

    assert min(seconds(5_000) for _ in range(3)) < 5 * min(seconds(500) for _ in range(3)) + 0.02


# --- the instruction and the document ------------------------------------------------------------

LETTER: Final = (
    "Dear residents, the analysis of the heating contract, which we must prove and justify to the "
    "court, was debated at length: first the liability clause, then, however, the penalty. " * 8
)
HARD_LETTER: Final = f"{LETTER}\n\n{LETTER}"


def asked(text: str) -> str:
    return split(text, load())[0].strip()


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        (f"Summarize this letter in two sentences:\n\n{LETTER}", "Summarize this letter in two"),
        (f"Translate into German:\n{HARD_LETTER}", "Translate into German:"),
        (f"{HARD_LETTER}\n\nWhen is the next meeting?", "When is the next meeting?"),
        (f"Suggest a title.\n\n{HARD_LETTER}", "Suggest a title."),
        (f"Fix the typos in the text below. {LETTER}", "Fix the typos in the text below."),
        ("Fasse zusammen: " + LETTER, "Fasse zusammen:"),
        ("总结\uff1a" + LETTER, "总结\uff1a"),
    ],
)
def test_the_instruction_is_separated_from_the_document(text: str, instruction: str) -> None:
    assert asked(text).startswith(instruction)
    assert len(asked(text)) < 100


@pytest.mark.parametrize("document", [LETTER, HARD_LETTER, HARD_LETTER * 20])
def test_an_easy_question_about_a_hard_document_stays_easy(document: str) -> None:
    easy = score_messages([{"role": "user", "content": f"Summarize this:\n\n{document}"}])
    hard = score_messages(
        [
            {
                "role": "user",
                "content": f"{document}\n\nProve that the liability clause contradicts the "
                "contract, and design a strategy against the strongest counterargument.",
            }
        ]
    )
    assert easy.total < 50 <= hard.total
    assert easy.signals["token_count"] <= 10


NOTICE: Final = (
    "The library will move in June. Readers must return every book before the 12th, since the "
    "shelves are counted then. If a book cannot be found, the fee must be paid, unless it was "
    "reported. However, the reading room stays open, and the council decides later whether the "
    "new building needs a second entrance."
)
AFTER: Final = [
    "summarize this", "tl;dr", "TL;DR please", "can you shorten that?", "translate to Spanish",
    "Please translate the text above into French.", "fix the grammar", "make it more formal",
    "what's the main point?", "is this positive or negative?", "give me keywords",
    "kurz zusammenfassen", "bitte auf Englisch übersetzen", "résume ce texte en une phrase",
    "resúmelo en español", "кратко перескажи", "总结一下", "要約して",
]  # fmt: skip


@pytest.mark.parametrize("request_", AFTER)
@pytest.mark.parametrize("copies", [1, 2, 4, 12])
def test_an_easy_request_may_stand_after_a_text_of_any_size(request_: str, copies: int) -> None:
    text = "\n\n".join([NOTICE] * copies)
    assert asked(f"{text}\n\n{request_}") == request_


@pytest.mark.parametrize(
    "text",
    [
        f"Prove that the notice contradicts itself: {NOTICE}\n\nSummarize it in two sentences.",
        f"{NOTICE}\n\nThen translate your answer into French.",
        f"{NOTICE}\nWhat follows from this for the budget?\nsummarize",
        f"{NOTICE}\n\nIs the argument valid?",
        f"{NOTICE}\n\nsummarize and solve the problem",
        "Build a parser for it.\n\nsummarize this",
    ],
)
def test_a_request_that_belongs_to_another_is_not_taken_for_the_whole(text: str) -> None:
    assert asked(text) == text


@pytest.mark.parametrize(
    "head", ["Summarize and solve", "Translate, then calculate", "Übersetze und löse"]
)
def test_an_easy_word_before_a_colon_does_not_hide_a_harder_one(head: str) -> None:
    text = f"{head}: determine all primes p for which p^2 + 2 is prime"
    assert asked(text) == text


@pytest.mark.parametrize(
    "head", ["fix the grammar and spelling", "tl;dr this", "make this shorter", "Кратко перескажи"]
)
@pytest.mark.parametrize("between", [": ", ":\n", "\n\n"])
def test_an_easy_request_may_stand_before_a_text(head: str, between: str) -> None:
    assert asked(head + between + NOTICE).rstrip(":") == head


HARD_BODIES: Final = [
    "Let G be a finite group. I want you to prove that a subgroup of the smallest prime index is "
    "normal, and to give a counterexample for every other index, with all the steps of the proof.",
    "Fix the race condition in our scheduler: two workers claim a job when its lease ends while "
    "the collector pauses, and the second one writes over what the first one has written.",
    "Build a full-stack app in which teams plan their shifts, with roles, payments and an audit "
    "log, and deploy it to two regions without any downtime for those who use it.",
    "Why does this deadlock only on two cores? The interrupt takes the lock while the tasklet "
    "still holds the mutex, and the lock checker of our kernel build stays silent all the time.",
]
STYLE_LINES: Final = [
    "Use bullet points.", "Please write it in plain English.", "More concise please",
    "Sorry for the typos.", "no bullet points", "Don't summarize it.", "tl;dr first",
    "Give key takeaways.", "Fasse dich kurz.", "Perdón por la ortografía.", "最后总结一下",
]  # fmt: skip


@pytest.mark.parametrize("line", STYLE_LINES)
def test_a_line_about_style_after_a_hard_request_does_not_replace_it(line: str) -> None:
    for body in HARD_BODIES:
        assert asked(f"{body}\n{line}") == f"{body}\n{line}"


@pytest.mark.parametrize(
    "text",
    [
        "TL;DR: my landlord ends the lease after 22 years. Can you draft the objection?",
        "Make this work: a lock-free skip list that is linearizable",
        "Grammar: write a LALR(1) parser generator in Go",
        "Keywords: sheaf cohomology. Prove that it vanishes above the dimension",
        "Do not summarize: prove that the series converges uniformly",
        "Summarize and then do the following: prove it for all n",
        "Translate the abstract into German\nI also need a full proof of lemma 4",
        f"First translate the text. {NOTICE} Then prove its theorem.",
    ],
)
def test_an_easy_word_that_asks_for_nothing_hides_no_request(text: str) -> None:
    assert asked(text) == text


def test_a_document_of_blanks_before_a_request_is_none() -> None:
    for blank in ("\u00a0", "\u3000", "\n"):
        assert asked(blank * 200 + "\nsummarize this") == "summarize this"


@pytest.mark.parametrize(
    "text",
    [
        "build a chess engine", "write a compiler in Rust", "create a multi-tenant invoicing app",
        "make a social network where only dogs can post", "baue einen Compiler in Rust",
        "construye un compilador en Go", "напиши компилятор на Go", "用Rust写一个编译器",
    ],
)  # fmt: skip
def test_a_whole_program_is_known_by_its_name_near_the_verb(text: str) -> None:
    assert read(text, load()).counts["whole"]


@pytest.mark.parametrize(
    "text",
    [
        "what is a compiler?", "explain how a compiler works", "restart the emulator",
        "write release notes for our iOS app", "write a LinkedIn post about our booking system",
        "clone the repo, build it and run the tests", "Crea un post sobre nuestra tienda online",
        "schreib einen Werbetext für unsere Plattform", "쇼핑몰 홍보 문구 만들어줘",
    ],
)  # fmt: skip
def test_a_program_that_is_only_named_is_not_to_be_written(text: str) -> None:
    assert not read(text, load()).counts["whole"]


def test_the_size_of_a_document_adds_a_few_points_at_most() -> None:
    text = "Fix the typos in the text below.\n\n"
    few, many = (read(text + "word and word. " * n, load()).counts for n in (200, 100_000))
    assert many["payload"] > few["payload"] > 0
    table = load().tables["payload"]
    assert max(table.points) - min(table.points) <= 10


def test_a_second_request_on_the_next_line_is_no_document() -> None:
    both = "translate the labels to French\nthen design a cache and prove that it is consistent"
    assert asked(both) == both
    assert asked("translate to French: design a cache") == "translate to French:"


@pytest.mark.parametrize(
    "greeting", ["Hi!\n", "Hello Claude,\n\n", "Thanks, one more: ", "Hallo:\n"]
)
def test_a_greeting_is_no_task(greeting: str) -> None:
    text = f"{greeting}why do we see the same side of the moon?"
    assert asked(text) == text.strip()


PASTED: Final = {
    "fenced code": "```python\nprove(theorem)\ndesign = deadlock()\n```",
    "a fence that is not closed": "```\nprove the theorem",
    "code": "int prove(int theorem) {\n    return deadlock;\n}",
    "imports": "import theorem\nfrom deadlock import prove",
    "quoted mail": "> prove the theorem\n> about the deadlock",
    "a table": "| prove | theorem |\n|---|---|\n| deadlock | proof |",
    "columns": "prove\ttheorem\tdeadlock\nproof\tlemma\tmutex",
    "CSV": "prove,theorem,deadlock\nproof,lemma,mutex",
    "JSON": '"prove": "theorem",\n"deadlock": 1',
    "a log": "2026-01-02 12:00:01 prove failed: deadlock\n2026-01-02 12:00:02 theorem stopped",
    "a stack": "Traceback (most recent call last):\n    at deadlock.prove(Theorem.java:12)",
    "a text with its name": "Text: prove the theorem about the deadlock",
    "a passage in Chinese": "\u6bb5\u843d\uff1a\u8bc1\u660e\u8fd9\u4e2a\u5b9a\u7406",
    "a quotation of some lines": '"Prove the theorem.\n'
    + "Then it went on about a deadlock.\n" * 8
    + '"',
}


@pytest.mark.parametrize("pasted", PASTED.values(), ids=PASTED)
def test_words_of_a_pasted_text_do_not_count(pasted: str) -> None:
    request = "Why is this slow on my old laptop?"
    found, alone = read(f"{request}\n\n{pasted}", load()), read(request, load())
    assert (found.words, set(found.cues)) == (alone.words, set(alone.cues))
    assert found.counts["payload"] > 0


@pytest.mark.parametrize(
    "text",
    [
        "First prove the lemma, then the theorem.\nUse no choice; a sketch is enough.",
        "Design a queue:\n- it must be lock-free\n- prove that it is linearizable",
        "Task: prove the theorem",
        "(prove the theorem, please)\nThanks",
        "def prove(theorem): ...",
    ],
)
def test_a_request_in_several_lines_is_not_taken_for_pasted_text(text: str) -> None:
    assert asked(text) == text


def test_a_request_after_a_long_fence_is_found() -> None:
    code = "```\n" + "prove the theorem()\n" * 300 + "```\n"
    assert asked(code + "Say hello to my aunt.") == "Say hello to my aunt."


def test_a_decimal_point_ends_no_sentence() -> None:
    whole = read("the flow is 3 l and the load is 8 kg", load()).counts["sentence"]
    assert read("the flow is 3.14 l and the load is 8.5 kg", load()).counts["sentence"] == whole


QUESTION: Final = "Which planet is the largest?"


@pytest.mark.parametrize("letter", ["{}. ", "{}) ", "({}) ", "  {}: "])
def test_answers_that_are_offered_are_not_asked_for(letter: str) -> None:
    answers = ["the one that must be proved from the theorem of Kepler", "Jupiter, since 1610"]
    lines = [letter.format(sign) + answer for sign, answer in zip("AB", answers, strict=True)]
    alone = read(QUESTION, load())
    found = read("\n".join([QUESTION, *lines]), load())
    assert (found.words, found.cues) == (alone.words, alone.cues)
    assert found.counts == alone.counts | {"numeric_choices": pytest.approx(log(2))}


@pytest.mark.parametrize(
    "text",
    [
        "A. prove the lemma\nB. derive the bound",
        f"{QUESTION}\nB. prove the lemma\nC. derive the bound",
        f"{QUESTION}\nA. prove the lemma",
        "1. prove the lemma\n2. derive the bound",
    ],
)
def test_a_list_that_is_no_multiple_choice_counts_as_instruction(text: str) -> None:
    assert "prove" in {cue.word for cue in read(text, load()).cues}


def test_a_value_to_copy_is_no_calculation() -> None:
    def numbers(text: str) -> float:
        return read(text, load()).counts["numbers"]

    assert numbers("Find the area of a circle with a radius of 5 units") == 0
    assert numbers("Solve x^2 + 5 x = 14") == pytest.approx(log(4))
    assert numbers("A train leaves at 9 and a bus at 10. " * 5) == pytest.approx(log(11))


@pytest.mark.parametrize(
    ("text", "many"),
    [
        ("pass `mapController` to the view", 1),
        ("loadConfig calls read_rows, and read_rows calls loadConfig", 2),
        ("rename it in sum.py on example.com, OK", 0),
    ],
)
def test_identifiers_count_once_each(text: str, many: int) -> None:
    assert read(text, load()).counts["identifiers"] == pytest.approx(log(1 + many))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Which opera by Tchaikovsky is set in Peterhof", 2 / 8),
        ("The meeting is on Saturday in the old hall", 0),
        ("what does 'the song of Roland' mean in one line", 0),
        ("Wie komme ich von Schwabing nach Pasing mit der Bahn", 0),
    ],
    ids=["names", "everyday", "quoted", "nouns have capitals in German"],
)
def test_only_rare_names_count(text: str, names: float) -> None:
    assert read(text, load()).counts["names"] == pytest.approx(names)


# --- other languages -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cue"),
    [
        ("Implementiere einen Parser", "implementiere"),
        ("Vergleichen Sie beide Verfahren", "vergleichen"),
        ("Implémentez un cache", "implémentez"),
        ("¿Cuál es la probabilidad?", "probabilidad"),
        ("Спроектируйте очередь", "спроектируйте"),
        ("证明这个定理", "证明"),
        ("この設計を説明して", "設計"),
        ("캐시를 설계해 줘", "설계"),
        ("वितरित प्रणाली का विश्लेषण कीजिए", "विश्लेषण"),
        ("صمم نظاما موزعا", "صمم"),
    ],
)
def test_cues_are_found_in_inflected_words_and_without_spaces(text: str, cue: str) -> None:
    assert cue in {found.word for found in read(text, load()).cues}


@pytest.mark.parametrize(
    "text",
    [
        "Wczoraj była bardzo ładna pogoda",
        "Вчера была очень хорошая погода",
        "Hier il faisait très beau à la campagne",
        "Ieri il tempo era molto bello in campagna",
    ],
)
def test_a_text_in_another_language_is_not_rare_by_its_words(text: str) -> None:
    found = read(text, load())
    assert not found.is_english
    assert found.counts["rare_words"] < 0.1


@pytest.mark.parametrize(
    "text", ["frobnicator widgetise", "переразмагнитить сверхпутаница", "Schraubenschlüsselkasten"]
)
def test_an_unlisted_word_is_judged_by_its_letters(text: str) -> None:
    found = read(text, load())
    assert not found.known
    assert found.n_spelled == len(found.words) > 0
    assert found.unread == 0


def test_two_unknown_words_are_not_worth_the_same() -> None:
    lexicon = load()
    assert lexicon.spelled("frobnicator") != lexicon.spelled("widgetise")


@pytest.mark.parametrize("text", ["გამარჯობა მეგობარო", "ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ"])
def test_a_script_without_data_is_not_read(text: str) -> None:
    found = read(text, load())
    assert found.n_spelled == 0
    assert found.unread == 1


@pytest.mark.parametrize(
    "text", ["the of and to with this", "à ce mon plus avec les", "и в на что если", "und das mit"]
)
def test_function_words_say_nothing(text: str) -> None:
    assert not read(text, load()).words


def test_greek_prose_is_no_formula() -> None:
    city = "\u03b7 \u03c0\u03cc\u03bb\u03b7 \u03b5\u03af\u03bd\u03b1\u03b9"
    assert read(city, load()).counts["maths"] == 0
    angles = read("the angle \u03b1 and the angle \u03b2", load())
    assert angles.counts["maths"] == pytest.approx(log(3))


def test_english_is_distinguished_from_other_languages() -> None:
    assert read("What would be a good way to clean the kitchen floor?", load()).is_english
