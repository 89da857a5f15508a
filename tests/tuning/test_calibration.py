"""Calibration of the local model's confidence by a comparison."""

import argparse
import io
import random
from pathlib import Path

import pytest
from rich.console import Console

from config import load_settings
from router.answers.calibration import SURE_LABELS, Calibrations
from router.tuning import main
from router.tuning.calibration import findings, ranking
from router.tuning.compare import Prompt
from router.tuning.judge import Compared, Verdict
from tests.support.comparing import Sides


def labelled(count: int, *, telling: bool = True) -> list[Compared]:
    """Compared prompts whose score says nothing; the signal does where it is telling."""
    dice = random.Random(3)
    found = []
    for number in range(count):
        good = dice.random() < 0.7
        words = dice.gauss(3 if good and telling else 0, 2)
        verdict: tuple[Verdict, Verdict] = ("tie", "tie") if good else ("cloud", "cloud")
        score = dice.uniform(0, 50)
        found.append(Compared(str(number), score, verdict, words=words))
    return found


def test_a_telling_signal_works_from_enough_labels_on() -> None:
    (few,), (many,) = (findings(labelled(n), "m", 0.9) for n in (SURE_LABELS - 1, 400))
    assert not few.works
    assert many.works
    assert many.by_signal.low > many.by_score.high
    assert many.stays_by_signal > many.stays_by_score + 0.2
    assert many.error < 0.09
    assert many.calibration.model == "m"
    assert 0 < many.calibration.least < 1


def test_the_share_that_stays_local_has_the_wanted_quality() -> None:
    results = labelled(400)
    (found,) = findings(results, "m", 0.9)
    curve, least = found.calibration.curve, found.calibration.least
    kept = [one for one in results if one.words and curve.probability(one.words) >= least]
    assert len(kept) / len(results) == pytest.approx(found.stays_by_signal, abs=0.01)
    assert sum(one.as_good for one in kept) / len(kept) >= 0.9


def test_a_signal_by_chance_does_not_work() -> None:
    (found,) = findings(labelled(400, telling=False), "m", 0.9)
    assert not found.works
    assert found.by_signal.value == pytest.approx(0.5, abs=0.1)


def test_too_few_or_one_sided_labels_give_no_finding() -> None:
    assert findings(labelled(49), "m", 0.9) == []
    good = [one for one in labelled(300) if one.as_good]
    assert findings(good, "m", 0.9) == []
    assert findings([], "m", 0.9) == []


@pytest.mark.parametrize(
    ("points", "value"),
    [
        ([(1.0, 0.0), (2.0, 1.0)], 1.0),
        ([(2.0, 0.0), (1.0, 1.0)], 0.0),
        ([(1.0, 0.0), (1.0, 1.0)], 0.5),
        ([(1.0, 1.0)], 0.5),
        ([(1.0, 0.0), (2.0, 1.0), (2.0, 0.0), (3.0, 1.0)], 0.875),
    ],
)
def test_the_ranking_is_the_chance_of_the_right_order(
    points: list[tuple[float, float]], value: float
) -> None:
    assert ranking(points).value == value


async def compared(prompts: int, *, rates: bool, tmp_path: Path) -> str:
    async with Sides(rates=rates) as sides:
        settings = load_settings(
            local_base_url=f"{sides.url}/v1",
            local_model="qwen",
            anthropic_api_key="sk-ant-test",
            anthropic_base_url=sides.url,
            journal_path=str(tmp_path / "journal.db"),
            embedded_model="off",
        )
        console = Console(file=io.StringIO(), width=100, highlight=False)
        state = str(tmp_path / "state.jsonl")
        options: argparse.Namespace = main.parser().parse_args(
            ["compare", "--yes", "--state", state, "--sample", str(prompts)]
        )
        words = ("easy", "easy", "hard")
        pool = [Prompt(f"{words[n % 3]} {n}", 10.0 + n % 7) for n in range(prompts)]
        await main.compare_sides(options, settings, console, pool)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


async def test_a_comparison_calibrates_both_signals(tmp_path: Path) -> None:
    text = await compared(60, rates=True, tmp_path=tmp_path)
    assert "By the probabilities of the words, 60 answers: AUROC 1.00" in text
    assert "By the model's check of its answer, 60 answers: AUROC 1.00" in text
    assert "67% of these prompts could stay by it, 0% by the prompt score" in text
    assert f"shows from about {SURE_LABELS} answers" in text
    assert "A running server uses it after" in text
    kept = Calibrations.load(tmp_path / "calibrations.json")
    for signal in ("words", "check"):
        curve = kept.curve("qwen", signal)
        assert curve is not None
        assert curve.labels == 60


async def test_few_labels_calibrate_nothing(tmp_path: Path) -> None:
    text = await compared(6, rates=True, tmp_path=tmp_path)
    assert "6 answers came with probabilities. A calibration" in text
    assert not (tmp_path / "calibrations.json").exists()


async def test_a_server_without_probabilities_is_named(tmp_path: Path) -> None:
    text = await compared(6, rates=False, tmp_path=tmp_path)
    assert "gives no probabilities" in text
