"""Points that a turn inherits from the turns before it."""

from typing import Any

import pytest

from router.classifier import CONVERSATION, score_messages
from router.scoring import followups
from router.scoring.lexicon import load

HARD = "Prove that every compact metric space is complete, then discuss where the converse fails."
EASY = "What is the capital of France?"


def talk(*turns: str) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    for turn in turns:
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "Done."}]
    return messages[:-1]


def total(*turns: str) -> float:
    return score_messages(talk(*turns)).total


GOING_ON = [
    "continue", "go on", "yes, do it", "why?", "and then?", "ok", "fix it",
    "weiter", "ja, mach das", "warum?", "oui", "pourquoi ?", "sí, hazlo", "¿por qué?",
    "sim", "continua", "perché?", "sì", "да", "продолжай", "почему?", "tak", "dalej",
    "ja, doe maar", "evet", "devam et", "继续", "好的", "为什么", "続けて", "なぜ",
    "great, do it", "bitte", "tamam", "お願いします", "ja", "да", "はい", "好", "是的", "예",
    "igen", "계속해", "네", "왜",
    "जारी रखो", "हाँ", "نعم", "أكمل", "لماذا",
]  # fmt: skip


@pytest.mark.parametrize("short", GOING_ON)
def test_a_referring_follow_up_inherits_the_whole_need(short: str) -> None:
    assert total(HARD, short) == pytest.approx(total(HARD), abs=1)
    assert total(EASY, short) < 50


@pytest.mark.parametrize(
    "closing",
    [
        "thanks!", "thank you so much", "great, that helped a lot", "perfect, bye", "danke",
        "vielen Dank!", "merci beaucoup", "muchas gracias", "obrigado", "grazie mille", "спасибо",
        "谢谢", "ありがとう", "감사합니다", "धन्यवाद", "شكرا", "teşekkürler", "dziękuję", "dank je",
        "tack", "got it", "all good now", "that fixed it, thank you", "works now, cheers mate",
        "danke dir", "alles klar, danke", "merci à toi", "vale, gracias", "понятно, спасибо",
        "助かりました", "知道了", "谢谢\uff0c搞定了", "cảm ơn bạn", "gracias por eso",
        "merci, ça marche", "thanks, that does it",
    ],
)  # fmt: skip
def test_thanks_ask_for_nothing_whatever_came_before(closing: str) -> None:
    assert total(HARD, closing) <= followups.CLOSING_CAP
    assert total(EASY, closing) <= followups.CLOSING_CAP


@pytest.mark.parametrize(
    "more", ["thanks, now prove the converse", "thanks! why is that?", "谢谢、那是为什么呢"]
)
def test_thanks_with_a_request_are_a_request(more: str) -> None:
    assert not followups.is_closing(more, load())
    assert total(HARD, more) >= 50


@pytest.mark.parametrize(
    "step", ["commit and push", "run it", "run the tests", "rename it to total", "закоммить"]
)
def test_a_small_step_of_an_agent_stays_small(step: str) -> None:
    assert total(HARD, step) < 50


@pytest.mark.parametrize("more", ["and for odd n?", "what about the second case", "同样用于矩阵"])
def test_a_short_turn_that_says_something_inherits_a_part(more: str) -> None:
    assert total(more) < total(HARD, more) < total(HARD)


@pytest.mark.parametrize("easy", ["shorter please", "now in Italian", "auf Deutsch", "en español"])
def test_a_short_easy_request_inherits_little(easy: str) -> None:
    assert total(HARD, easy) < 50 <= total(HARD, "go on")


def test_going_up_is_free() -> None:
    assert total(EASY, HARD) == pytest.approx(total(HARD), abs=0.01)
    assert score_messages(talk(EASY, HARD)).signals[CONVERSATION] == 0


TRIP = (
    "what is the weather usually like in Rome in May and what should I pack for a week there with "
    "my two small kids who like to swim and to play in the sand"
)


def test_a_turn_of_a_hundred_words_stands_for_itself_and_inherits_nothing() -> None:
    long = f"{TRIP}. {TRIP.capitalize()}. {TRIP.capitalize()}. {TRIP.capitalize()}."
    assert total(HARD, long) == total(long)
    assert total(TRIP) < total(HARD, TRIP) < 50


def test_an_easy_conversation_makes_an_easy_turn_easier_and_a_hard_one_no_easier() -> None:
    assert total(EASY, "and what do people like to eat there?") < total(
        "and what do people like to eat there?"
    )
    assert total(EASY, EASY, HARD) == total(HARD)


LOOP = (
    "The deadlock comes from the event loop: the coroutine holds the lock while it waits for the "
    "callback, and the callback needs the same lock. To prove it, derive the order in which the "
    "two tasks acquire it, then design a queue that makes the critical section reentrant. I would "
    "implement it in three steps: first, replace the mutex; then move the callback into a worker "
    "thread with its own scheduler; finally, analyse the race that remains between cancellation "
    "and shutdown, because the invariants of the state machine must hold on every path. "
) * 2
NAMES = (
    "Here are some nice names for your cat: Luna, Milo, Nala and Simba. They are all short and "
    "easy to say, and your cat will like them. If you want, I can give you a list with more, "
    "for example names of flowers or of food. Have a nice day with your cat, and say hello to her! "
) * 2


def test_a_turn_inherits_from_the_answer_that_it_follows() -> None:
    def after(answer: str, turn: str) -> float:
        said = [
            ("user", "Please help me to fix my program."),
            ("assistant", answer),
            ("user", turn),
        ]
        return score_messages([{"role": role, "content": text} for role, text in said]).total

    for turn in "yes, do it", "and the first one?", "please write that down for my colleagues":
        assert after(LOOP, turn) > after(NAMES, turn) + 3
        assert after("Sure.", turn) == pytest.approx(after("", turn), abs=1)
    assert after(LOOP, "thanks!") <= followups.CLOSING_CAP
    assert after(LOOP, HARD) == total(HARD)


@pytest.mark.parametrize(
    "said",
    [
        [("assistant", "?"), ("user", "and then?"), ("assistant", NAMES), ("user", "which one?")],
        [("assistant", "?"), ("assistant", NAMES), ("user", "which one?")],
        [("assistant", NAMES), ("user", "which one?"), ("assistant", "?"), ("tool", "?")],
    ],
    ids=["not that of an earlier turn", "not its first part", "not what came after the turn"],
)
def test_only_the_last_answer_before_the_turn_counts(said: list[tuple[str, str]]) -> None:
    def score_with(answer: str) -> float:
        messages = [
            {"role": role, "content": answer if text == "?" else text}
            for role, text in [("user", "Hi, can you help me?"), *said]
        ]
        return score_messages(messages).total

    assert score_with(LOOP) == score_with(NAMES)


def test_the_need_fades_from_turn_to_turn() -> None:
    course = [total(HARD, *["go on"] * n) for n in range(5)]
    assert course == sorted(course, reverse=True)
    assert course[0] > course[4] > 0.7 * course[0]


def test_a_new_topic_ends_the_old_need() -> None:
    chat = (
        "thank you, something else: what is a good name for a small cat that we got from a friend "
        "last week and that likes to sleep in the sun all day long"
    )
    assert total(HARD, chat, "go on") < 50


def test_thanks_between_do_not_end_the_need() -> None:
    assert total(HARD, "thanks!", "go on") > 50


def test_the_conversations_points_are_a_row_of_their_own() -> None:
    inherited = score_messages(talk(HARD, "go on"))
    alone = score_messages(talk("go on"))
    assert inherited.signals[CONVERSATION] > 0
    assert alone.signals[CONVERSATION] == 0
    ranges = {name: points for name, points in alone.signals.items() if name != CONVERSATION}
    assert ranges.items() <= inherited.signals.items()
    assert score_messages(talk(HARD, "thanks, danke")).signals[CONVERSATION] <= 0


def test_the_share_falls_with_the_length() -> None:
    shares = [followups.inherited_share(n, refers=False, easy=False) for n in range(120)]
    assert shares[: followups.SHORT + 1] == [followups.OWN_SHARE] * (followups.SHORT + 1)
    assert shares == sorted(shares, reverse=True)
    assert shares[followups.LONG] == 0
    assert followups.inherited_share(2, refers=True, easy=False) == 1
    assert 0 < followups.inherited_share(2, refers=False, easy=True) < followups.OWN_SHARE
