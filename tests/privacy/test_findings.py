"""The ids of findings, and what the scanner remembers of earlier turns."""

import pytest

from router.privacy import scanner as scanning
from router.privacy.scanner import Finding, PrivacyScanner
from tests.support.keys import CANARIES

KEY = CANARIES["GitHub"]


def found_by(scanner: PrivacyScanner, text: str = f"My key is {KEY}.") -> list[Finding]:
    return list(scanner.findings([("messages[0]", "user", text)]))


def test_an_id_depends_on_the_key_of_the_scanner() -> None:
    one, same, other = (PrivacyScanner(id_key=key) for key in (b"one", b"one", b"other"))
    ids = [found_by(scanner)[0].id for scanner in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert found_by(PrivacyScanner())[0].id != found_by(PrivacyScanner())[0].id


def test_what_is_remembered_of_earlier_turns_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "MOST_KNOWN", 3)
    scanner = PrivacyScanner()
    for number in range(10):
        assert found_by(scanner, f"{number}: {KEY}")
        assert len(scanner._known) <= 3


@pytest.mark.parametrize("body", ['{"content": "%s"}', '"%s"', "no JSON: %s", "\udcff %s"])
def test_a_key_is_found_in_a_body_of_any_kind(body: str) -> None:
    assert PrivacyScanner().scan((body % KEY).encode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("name", "value", "is_found"),
    [
        ("ROUTER_API_KEY", "tr0ub4", True),
        ("ROUTER_API_KEY", "tr0ub", False),
        ("ANTHROPIC_API_KEY", "vq7Xk2Lm9Pz4Rt8Wn3Yb", True),
        ("ANTHROPIC_API_KEY", "your-key-goes-here", False),
    ],
)
def test_a_key_of_the_router_is_found_unless_ordinary_text_has_it(
    name: str, value: str, is_found: bool
) -> None:
    scanner = PrivacyScanner(keys={name: value})
    assert bool(found_by(scanner, f"It says {value} here.")) is is_found


def test_a_key_that_is_too_short_to_be_found_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    PrivacyScanner(keys={"ROUTER_API_KEY": "tr0ub4"}).start()
    assert caplog.messages == []
    PrivacyScanner(keys={"ROUTER_API_KEY": "tr0ub"}).start()
    assert "ROUTER_API_KEY is too short" in caplog.text
    assert "tr0ub" not in caplog.text
