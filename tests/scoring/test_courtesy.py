"""Greetings, thanks and small talk around a request."""

import pytest

from router.classifier import score_messages
from router.scoring.courtesy import without_courtesy
from router.scoring.lexicon import load
from router.scoring.reading import read

HARD = "Prove that every compact metric space is separable, and say where the converse fails"
EASY = "Translate this sentence into Italian: the shop opens at nine"


def total(text: str) -> float:
    return score_messages([{"role": "user", "content": text}]).total


AROUND = [
    ("Hi, ", ""), ("Hello! ", " Thanks!"), ("Hey there,\n\n", "\n\nMany thanks in advance!"),
    ("Good morning, ", ". Thank you so much for your help :)"),
    ("hi ", " thanks"), ("Hi everyone, hope you are doing well. ", ". Cheers"),
    ("Sorry to bother you again, ", ""), ("Thanks for the help yesterday! ", ""),
    ("Hallo, ich hoffe, es geht dir gut. ", ". Vielen Dank im Voraus!"),
    ("Bonjour à tous, ", ". Merci d'avance !"), ("Hola, buenas tardes. ", ". ¡Muchas gracias!"),
    ("Olá, ", ". Obrigado!"), ("Buongiorno, ", ". Grazie mille"), ("Cześć, ", ". Dziękuję"),
    ("Здравствуйте! ", ". Спасибо большое!"), ("Merhaba, ", ". Teşekkürler"),
    ("你好\uff0c", "。谢谢\uff01"), ("こんにちは。お手数ですが、", "。よろしくお願いします。"),
    ("안녕하세요. ", ". 감사합니다!"), ("السلام عليكم، ", ""), ("नमस्ते, ", ". धन्यवाद"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), AROUND)
def test_courtesies_around_a_request_change_little(before: str, after: str) -> None:
    for request in (HARD, EASY):
        assert total(before + request + after) == pytest.approx(total(request), abs=1.5)


@pytest.mark.parametrize(("before", "after"), AROUND)
def test_courtesies_are_taken_off_once_a_request_is_there(before: str, after: str) -> None:
    rest = without_courtesy(before + HARD + after, load())
    assert rest.strip(" .。\n") == HARD


@pytest.mark.parametrize(
    "text",
    [
        "Hi", "thanks!", "Hello, how are you?", "Thank you so much, have a nice day!",
        "hello in Spanish", "say thanks to my boss", "Translate into French: thanks, bye",
        "Fix the spelling: helo", "What does moin mean?", "", "?!", "谢谢",
    ],
)  # fmt: skip
def test_words_that_are_asked_about_stay(text: str) -> None:
    assert without_courtesy(text, load()) == text


def test_a_greeting_alone_is_easy() -> None:
    for text in ("Hi!", "Hello, how are you?", "good morning everyone", "thanks a lot"):
        assert total(text) < 20


def test_the_evidence_names_no_greeting_beside_a_request() -> None:
    reading = read(f"Hi! {HARD}. Thanks!", load())
    assert not reading.counts["chat"]
    assert {"hi", "thanks"}.isdisjoint(reading.words)
