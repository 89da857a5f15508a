"""The .env file: where it is found, what is read in which encoding, how one line is changed."""

import os
from pathlib import Path

import pytest

import env_file
from env_file import Unreadable, write_setting

SETTINGS = ("SERVER_PORT", "LOCAL_MODEL", "COMPLEXITY_THRESHOLD")


@pytest.fixture
def env(tmp_path: Path) -> Path:
    path = tmp_path / ".env"
    path.touch(mode=0o600)
    return path


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the places where a .env is looked for, in order, each in a folder that exists."""
    here, program, user = (tmp_path / name for name in ("here", "program", "user"))
    for folder in (here, program, user / "llm-router"):
        folder.mkdir(parents=True)
    (program / "pyproject.toml").touch()
    monkeypatch.chdir(here)
    monkeypatch.setattr(env_file, "PROGRAM", program)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(user))
    return list(env_file.places())


def test_it_is_looked_for_here_then_beside_the_program_then_in_the_users_folder(
    folders: list[Path], tmp_path: Path
) -> None:
    assert folders == [
        tmp_path / "here/.env",
        tmp_path / "program/.env",
        tmp_path / "user/llm-router/.env",
    ]
    assert env_file.find(SETTINGS) is None
    for path in reversed(folders):
        path.write_text("SERVER_PORT=1\n")
        found = env_file.find(SETTINGS)
        assert found is not None
        assert found.path == path


def test_an_installed_program_has_no_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: list[Path]
) -> None:
    assert env_file.new_file() == folders[1]
    monkeypatch.setattr(env_file, "PROGRAM", tmp_path)
    assert env_file.places() == (folders[0], folders[2])
    assert env_file.new_file() == folders[2]


def test_a_file_of_another_project_does_not_hide_the_users_own(folders: list[Path]) -> None:
    folders[0].write_text("DATABASE_URL=postgres://localhost/shop\n")
    folders[2].write_text("SERVER_PORT=1\n")
    found = env_file.find(SETTINGS)
    assert found is not None
    assert found.path == folders[2]


def test_a_file_with_nothing_but_a_misspelled_setting_is_read(folders: list[Path]) -> None:
    folders[0].write_text("COMPLEXITY_TRESHOLD=10\n")
    found = env_file.find(SETTINGS)
    assert found is not None
    assert found.path == folders[0]


@pytest.mark.parametrize("text", ["# SERVER_PORT=1\n", "SERVER_PORT: 1\n", 'LOCAL_MODEL="open\n'])
def test_a_file_of_the_programs_own_that_sets_nothing_is_read_for_its_problems(
    folders: list[Path], text: str
) -> None:
    for path in (folders[2], folders[1]):
        path.write_text(text)
        found = env_file.find(SETTINGS)
        assert found is not None
        assert (found.path, found.values) == (path, {})
    folders[0].write_text(text)  # perhaps that of another project
    assert env_file.find(SETTINGS) == env_file.read(folders[1])


PLAIN = "# größer\nLOCAL_MODEL=qwen\nSERVER_PORT=9000\n"


@pytest.mark.parametrize(
    "raw",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-16-be"),
        PLAIN.encode("latin-1"),
        PLAIN.replace("\n", "\r\n").encode("utf-16"),
        PLAIN.replace("LOCAL", "\u200bLOCAL").encode(),
        PLAIN.replace("=", "\u00a0=\u200b").encode(),
        PLAIN.replace("\n", "\u2060\u00a0 \r\n").encode(),
        PLAIN.replace("LOCAL", "export LOCAL").encode(),
    ],
    ids=[
        *("utf-8", "with a mark", "utf-16", "big endian", "no mark", "big endian, no mark"),
        *("latin-1", "windows lines", "zero width", "no-break blanks", "at line ends", "export"),
    ],
)
def test_it_is_read_in_any_common_encoding(env: Path, raw: bytes) -> None:
    env.write_bytes(raw)
    file = env_file.read(env)
    assert file.values == {"LOCAL_MODEL": "qwen", "SERVER_PORT": "9000"}
    assert file.lines == {"LOCAL_MODEL": 2, "SERVER_PORT": 3}


def test_a_joiner_within_a_value_stays(env: Path) -> None:
    env.write_text("PRIVATE_PATTERNS=x\u200cy\n")
    assert env_file.read(env).values == {"PRIVATE_PATTERNS": "x\u200cy"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("A=1\n\nno equals sign\nB=2\n", "line 3: not NAME=value, so it is left out."),
        ("A=1\nJUST_A_NAME\nB=2\n", "line 2: not NAME=value, so it is left out."),
        ("A=1\nB=2\n# c\na=1\n", "line 4: A is set again; line 1 does not count."),
        ("B=2\nA=“1”\n", "line 2: curly quotes around the value of A are left out"),
        ("A=1\nB=2\n# größer\n", "line 3: not UTF-8, so it is read as Latin-1."),
    ],
)
def test_an_odd_line_is_named_once_and_the_rest_is_read(
    env: Path, content: str, problem: str
) -> None:
    env.write_bytes(content.encode("latin-1" if "ß" in content else "utf-8"))
    file = env_file.read(env)
    assert file.values == {"A": "1", "B": "2"}
    assert len(file.problems) == 1
    assert file.problems[0].startswith(f"{env}, {problem}")


def test_no_value_stands_in_a_problem(env: Path) -> None:
    env.write_text("ANTHROPIC_API_KEY: sk-canary\nA=sk-canary\nA=“sk-canary”\n")
    problems = env_file.read(env).problems
    assert len(problems) == 3
    assert not any("canary" in problem for problem in problems)


def test_a_file_that_cannot_be_decoded_is_one_line_that_says_what_to_do(env: Path) -> None:
    env.write_bytes(PLAIN.encode("utf-16") + b"\0")
    with pytest.raises(Unreadable, match=r"\.env, line 4: neither UTF-8 nor UTF-16\. Save"):
        env_file.read(env)


@pytest.mark.skipif(os.name != "posix", reason="modes are of POSIX")
def test_a_file_that_others_can_read_is_named_with_the_command_that_mends_it(env: Path) -> None:
    env.chmod(0o640)
    assert env_file.read(env).problems == (
        f"{env}: other users of this machine can read it. Run: chmod 600 {env}",
    )


def test_a_missing_file_that_was_asked_for_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"There is no file .*none\.env"):
        env_file.read(tmp_path / "none.env")


def test_references_to_other_variables_are_resolved(
    env: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    env.write_text("JOURNAL_PATH=${HOME}/journal.db\n")
    assert env_file.read(env).values == {"JOURNAL_PATH": "/home/me/journal.db"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "COMPLEXITY_THRESHOLD=62\n"),
        ("A=1", "A=1\nCOMPLEXITY_THRESHOLD=62\n"),
        ("A=1\r\n", "A=1\r\nCOMPLEXITY_THRESHOLD=62\r\n"),
        ("#COMPLEXITY_THRESHOLD=50\n", "#COMPLEXITY_THRESHOLD=50\nCOMPLEXITY_THRESHOLD=62\n"),
        ("COMPLEXITY_THRESHOLD=50", "COMPLEXITY_THRESHOLD=62"),
        ("COMPLEXITY_THRESHOLD=\nB=2\n", "COMPLEXITY_THRESHOLD=62\nB=2\n"),
        (
            "export complexity_threshold = '50'  # mine\r\nB=2",
            "export complexity_threshold = 62  # mine\r\nB=2",
        ),
        (
            'B="x\nCOMPLEXITY_THRESHOLD=3\n"\nCOMPLEXITY_THRESHOLD="50"\n',
            'B="x\nCOMPLEXITY_THRESHOLD=3\n"\nCOMPLEXITY_THRESHOLD=62\n',
        ),
        ("not a line\nA=\xff\n", "not a line\nA=\xff\nCOMPLEXITY_THRESHOLD=62\n"),
        ("MY_COMPLEXITY_THRESHOLD=1\n", "MY_COMPLEXITY_THRESHOLD=1\nCOMPLEXITY_THRESHOLD=62\n"),
    ],
)
def test_one_setting_changes_and_every_other_byte_stays(
    tmp_path: Path, before: str, after: str
) -> None:
    env = tmp_path / ".env"
    env.write_bytes(before.encode("latin-1"))
    write_setting(env, "COMPLEXITY_THRESHOLD", "62")
    assert env.read_bytes() == after.encode("latin-1")
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-8-sig"])
def test_a_changed_file_keeps_its_encoding(env: Path, codec: str) -> None:
    env.write_bytes("COMPLEXITY_THRESHOLD=50\r\nA=ü\r\n".encode(codec))
    write_setting(env, "COMPLEXITY_THRESHOLD", "62")
    assert env.read_bytes() == "COMPLEXITY_THRESHOLD=62\r\nA=ü\r\n".encode(codec)


def test_the_files_permissions_and_a_link_to_it_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.env", tmp_path / ".env"
    real.write_text("A=1\n")
    real.chmod(0o640)
    link.symlink_to(real)
    write_setting(link, "COMPLEXITY_THRESHOLD", "62")
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "COMPLEXITY_THRESHOLD=62" in real.read_text()
    write_setting(tmp_path / "new.env", "A", "1")
    assert (tmp_path / "new.env").stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_leaves_no_copy_of_the_keys_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = tmp_path / ".env"
    env.write_text("ANTHROPIC_API_KEY=secret\n")

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_setting(env, "A", "1")
    assert list(tmp_path.iterdir()) == [env]
    assert env.read_text() == "ANTHROPIC_API_KEY=secret\n"
