"""The user's own secrets, out of files of three kinds."""

import json
import threading
import time
from pathlib import Path

import pytest

from router.privacy import own_secrets
from router.privacy.scanner import PrivacyScanner
from router.privacy.secret_files import is_secret, read_values, secrets_of
from tests.support.keys import ALNUM, made_up

TOKEN = made_up(ALNUM, 30, "file")
PHRASE = "correct horse, battery & staple"
FILES = {
    "work.env": f"SERVICE_TOKEN={TOKEN}\nDB_PASSWORD='{PHRASE}'\n",
    "work.json": json.dumps(
        {
            "service": {"apiToken": TOKEN, "name": "not-a-secret-but-a-long-name"},
            "env": [{"name": "DB_PASSWORD", "value": PHRASE}],
        }
    ),
    "work.yaml": f"""
# settings
service:
  api-token: {TOKEN}   # of the service
  name: not-a-secret-but-a-long-name
env:
  - name: DB_PASSWORD
    value: "{PHRASE}"
""",
    "work.yml": f"""
tokens:
  service_token: |
    {TOKEN}
"db-password": '{PHRASE}'
""",
}


@pytest.mark.parametrize("name", FILES)
def test_secrets_of_each_kind_of_file_are_found(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8")
    scanner = PrivacyScanner([path])
    for secret in (TOKEN, PHRASE):
        rule = scanner.scan(json.dumps({"content": f"it is {secret}!"}).encode())
        assert rule is not None
        assert name in rule
    assert scanner.scan(b'{"content":"not-a-secret-but-a-long-name"}') is None


@pytest.mark.parametrize(
    "line", ["SERVICE_TOKEN: {}", 'export SERVICE_TOKEN="{}', "SERVICE_TOKEN = '{}"]
)
def test_a_line_that_sets_nothing_may_hold_a_secret(tmp_path: Path, line: str) -> None:
    path = tmp_path / ".env"
    path.write_text(f"A=1\n{line.format(TOKEN)}\nB=2\n")
    assert PrivacyScanner([path]).scan(f'"{TOKEN}"'.encode())


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_files_in_usual_encodings_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "work.env"
    path.write_text(f"# für die Arbeit\nSERVICE_TOKEN={TOKEN}\n", encoding=encoding)
    assert PrivacyScanner([path]).scan(f'"{TOKEN}"'.encode())


def test_the_password_in_an_address_is_a_secret_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("DATABASE_URL=postgres://app:vK9#xQ2!mZ7p@db/app\n")
    assert ("DATABASE_URL", "vK9#xQ2!mZ7p") in set(secrets_of(read_values(path)))


@pytest.mark.parametrize(
    "value",
    ["put correct horse battery", "change is the only constant", TOKEN, "vK9#xQ2!mZ7p"],
)
def test_a_value_of_the_users_own_is_a_secret(value: str) -> None:
    assert is_secret(value)


@pytest.mark.parametrize(
    "value",
    [
        *("your-api-key-goes-here", "change_me_please", "put your key here", "<your key>"),
        *("xxxxxxxxxxxxxxxxxxxx", "${OTHER_VARIABLE_NAME}", "short", "changeme-changeme"),
    ],
)
def test_a_placeholder_is_no_secret(value: str) -> None:
    assert not is_secret(value)


def test_a_request_that_comes_while_the_files_are_read_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "work.env"
    path.write_text(f"SERVICE_TOKEN={TOKEN}\n")
    scanner = PrivacyScanner([path])
    reading = threading.Event()

    def slowly(path: Path) -> dict[str, list[str]]:
        reading.set()
        time.sleep(0.05)
        return read_values(path)

    monkeypatch.setattr(own_secrets, "read_values", slowly)
    starting = threading.Thread(target=scanner.start)
    starting.start()
    reading.wait()
    assert scanner.scan(f'"{TOKEN}"'.encode())
    starting.join()


def test_a_wrong_path_is_reported_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    PrivacyScanner([tmp_path / "wrok.env"]).start()
    assert [record.getMessage() for record in caplog.records] == [
        f"No secrets of {tmp_path / 'wrok.env'} are looked for: there is no such file."
    ]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("work.json", "{", "it cannot be read (JSONDecodeError)"),
        ("work.env", "HOST=localhost\n", "it has no value of a variable that is named as a secret"),
        ("work.yaml", "- just\n- a list\n", "it has no value of a variable"),
    ],
)
def test_a_file_without_secrets_is_reported_at_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: str, complaint: str
) -> None:
    (tmp_path / name).write_text(content)
    PrivacyScanner([tmp_path / name]).start()
    assert complaint in caplog.text
