"""The lexicon file, and that training makes the same one from the same prompts."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from router.classifier import SIGNALS, score_messages
from router.scoring.lexicon import FILE, STEM_KEY, VERSION, from_data, load
from router.scoring.reading import COUNTS, read
from tools import train_lexicon
from tools.corpus import read_cues

DATA: dict[str, Any] = json.loads(FILE.read_bytes())
HARD = ["prove", "theorem", "derive", "integral", "matrix", "lemma", "bound"]
EASY = ["weather", "birthday", "cake", "movie", "song", "holiday", "lunch"]
PLAIN = ["the", "of", "for", "with", "about", "some", "many", "this", "and", "a"]


# --- the file that ships -------------------------------------------------------------------------


def test_every_count_is_in_one_signal_and_has_a_table() -> None:
    counted = [name for signal in SIGNALS for name in signal.counts]
    assert sorted(counted) == sorted(COUNTS) == sorted(DATA["tables"])


def test_every_table_rises_in_the_direction_that_a_person_would_name() -> None:
    for name, table in load().tables.items():
        assert len(table.points) == len(table.edges) + 1, name
        assert all(a < b for a, b in pairwise(table.edges)), name
        assert all(COUNTS[name] * (b - a) >= 0 for a, b in pairwise(table.points)), name


def test_no_learned_word_decides_by_itself() -> None:
    lexicon = load()
    weights = {**lexicon.weights, **lexicon.learned}
    hardest = sorted(weights, key=lambda word: -weights[word])
    for word in [word for word in hardest if not read(word, lexicon).cues][:300]:
        assert score_messages([{"role": "user", "content": word}]).total < 50, word


def test_the_cues_in_the_file_are_those_written_down() -> None:
    sections, groups = read_cues(train_lexicon.HERE / "cues")
    assert DATA["cues"] == sections
    assert DATA["groups"] == groups
    assert {count for count, _, _ in sections} <= set(COUNTS)


def test_every_stem_can_be_found() -> None:
    for count, _, entries in DATA["cues"]:
        for entry in entries.split():
            if entry.endswith("*"):
                stem = entry[:-1]
                assert len(stem) >= STEM_KEY, stem
                found = read(f"zzqx {stem}zq", load()).cues
                assert count in {one.facet for one in found if one.word == f"{stem}zq"}, stem


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.json"
    path.write_text(json.dumps({**DATA, "version": VERSION + 1}), encoding="utf-8")
    with pytest.raises(ValueError, match=f"has version {VERSION + 1}, not {VERSION}: train it"):
        load(path)


# --- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic prompts: those with HARD words are mostly failed, those with EASY ones solved."""
    dice = random.Random(3)
    lines = []
    for i in range(300):
        words = dice.choices(HARD if i % 2 else EASY, k=5)
        words += dice.choices(PLAIN, k=dice.randrange(4, 15))
        dice.shuffle(words)
        quality = dice.random() * (0.3 if i % 2 else 1)
        lines.append({"p": " ".join(words), "g": f"task {i % 7}", "w": [quality], "s": [0.8]})
    path = tmp_path_factory.mktemp("data") / "made_up.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


def train(data: Path, out: Path, *options: str) -> bytes:
    arguments = [str(data), "--no-vectors", "--folds", "0", "--out", str(out), *options]
    assert train_lexicon.main(arguments) == 0
    return out.read_bytes()


def test_the_same_prompts_give_the_same_file_byte_for_byte(prompts: Path, tmp_path: Path) -> None:
    first, second = (train(prompts, tmp_path / f"{n}.json") for n in "ab")
    assert first == second


def test_words_of_failed_prompts_come_to_speak_for_the_cloud(prompts: Path, tmp_path: Path) -> None:
    made = train(prompts, tmp_path / "lexicon.json", "--seeds-weight", "0.01")
    lexicon = from_data(json.loads(made))
    assert min(lexicon.weights[w] for w in HARD) > max(lexicon.weights[w] for w in EASY)


def test_the_figures_are_of_groups_and_files_left_out(
    prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.jsonl"
    other.write_bytes(prompts.read_bytes())
    arguments = [str(prompts), str(other), "--no-vectors", "--folds", "2"]
    assert train_lexicon.main([*arguments, "--out", str(tmp_path / "lexicon.json")]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if line.endswith(":")] == [
        "groups left out:",
        "rows left out:",
        "in sample:",
    ]
    assert said.count("AUROC fail 0.") == 6


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("abc*", "a stem needs 4 letters"),
        ("one_two_three", "join two words with one _"),
        ("one_stemmed*", "two whole words"),
        ("_one", "two whole words"),
        ("Capital", "lower case"),
    ],
)
def test_a_cue_that_could_never_be_found_is_named_by_its_line(
    entry: str, wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "xx.txt").write_text(f"# comment\n[hard 1]\nfine {entry}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=wrong):
        read_cues(tmp_path)
    assert train_lexicon.main(["--cues", str(tmp_path), "--out", str(tmp_path / "out.json")]) == 2
    assert "xx.txt, line 3" in capsys.readouterr().err


def test_cues_of_several_files_add_up(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("[hard 1]\nprove\n[polite]\nplease\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("[hard 1]\nbeweise prove\n", encoding="utf-8")
    assert read_cues(tmp_path) == ([["hard", 1.0, "prove beweise"]], {"polite": "please"})


def test_a_row_that_is_no_labelled_prompt_is_named_by_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"p": "hi", "y": 0}\n{"p": "hi", "w": "good"}\n', encoding="utf-8")
    assert train_lexicon.main([str(path), "--out", str(tmp_path / "lexicon.json")]) == 2
    assert "broken.jsonl, line 2" in capsys.readouterr().err
    assert not (tmp_path / "lexicon.json").exists()
