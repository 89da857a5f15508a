"""The calibration curves on the page, and what shadow would have done."""

from pathlib import Path
from typing import Any

from router.answers.calibration import Calibration, Calibrations, Curve
from router.telemetry.record import Record
from tests.support.browser import Tab, needs_browser
from tests.support.running_app import on_a_socket, running_app

pytestmark = needs_browser


def rated(number: int, model: str, words: float, now: float) -> Record:
    answer = {"words": words, "tokens": 5.0}
    values: dict[str, Any] = {"target": "local", "score": 40, "reason": "simple", "saved_usd": 0.5}
    return Record(f"req_{number}", now - number, model=model, answer=answer, **values)


async def shown(tab: Tab, folder: Path, *words: float, mode: str = "shadow") -> str:
    """Return the section's text, for answers of the model `m` and one of another."""
    calibration = Calibration("m", "words", Curve(0.0, 1.0, 60), least=0.5)
    Calibrations().keep(folder / "calibrations.json", calibration)
    path = str(folder / "journal.db")
    async with (
        running_app(journal_path=path, local_confidence=mode) as h,
        on_a_socket(h.app) as address,
    ):
        journal = h.assembly.ledger.journal
        now = journal._clock()
        for number, value in enumerate(words):
            journal.add(rated(number, "m", value, now))
        journal.add(rated(99, "other", 1.0, now))
        journal.flush()
        await tab.open(address)
        await tab.until("!document.querySelector('#confidence').hidden")
        text = await tab.text("#confidence")
        assert await tab.value("document.querySelector('.certainty .curve').points.length") == 99
        assert "NaN" not in await tab.value("document.querySelector('#curves').innerHTML")
        return text


async def test_a_curve_says_what_shadow_would_have_done(tab: Tab, tmp_path: Path) -> None:
    text = await shown(tab, tmp_path, -2, 1, 2, 3)
    for words in (
        *("m, by the probabilities of its words", "LOCAL_CONFIDENCE=shadow"),
        "Of 4 answers of the last 24 hours, 1 (25%) would have started over on the cloud, for"
        " about $0.50.",
        *("Fitted to 60 compared answers; about 200 are needed", "from 50% on"),
        "Not calibrated: other (1 answers)",
    ):
        assert words in text, words


async def test_a_curve_says_what_was_done(tab: Tab, tmp_path: Path) -> None:
    text = await shown(tab, tmp_path, -2, 1, mode="on")
    assert "1 (50%) started over on the cloud" in text


async def test_without_probabilities_there_is_no_curve(tab: Tab) -> None:
    async with running_app() as h, on_a_socket(h.app) as address:
        await h.ask("hi")
        await tab.open(address)
        await tab.until("document.querySelector('#decisions summary')")
        await tab.until("document.querySelector('#confidence-mode').textContent")
        assert await tab.value("document.querySelector('#confidence').hidden")
