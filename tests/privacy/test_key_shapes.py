"""The tables of key formats: each row finds the keys that it makes up, wherever they stand."""

import json
import re
from collections.abc import Callable

import orjson
import pytest
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

from router.privacy.key_shapes import SHAPES, KeyShape, keys_in
from router.privacy.runs import Text
from router.privacy.scanner import PrivacyScanner

SETTINGS: dict[str, Callable[[str], str]] = {
    "prose": lambda key: f"The key is {key}, if that helps.",
    "JSON": lambda key: json.dumps({"settings": {"value": key}}),
    "code": lambda key: f"client = Client('{key}')",
    "an environment file": lambda key: f"A=1\nSETTING={key}\nB=2",
    "a diff": lambda key: f"-{key}",
    "the other side of a diff": lambda key: f"+{key}",
    "grep's context": lambda key: f"src/app.py-12-{key}",
    "behind an underscore": lambda key: f"_{key}",
    "an option's value": lambda key: f"tool -p{key}",
}
SEEDS = 20
BROKEN = re.compile(r"\{[bps]:")
"""Templates with characters that break a run: a key in pieces of under 16 is not found."""


def found(text: str) -> set[str]:
    return {found.rule for found in keys_in(Text.of(text.encode()))}


def test_the_tables_have_hundreds_of_formats() -> None:
    assert len(SHAPES) > 480


@pytest.mark.parametrize("name", SETTINGS)
def test_a_made_up_key_of_each_format_is_found(name: str) -> None:
    missed = [shape.name for shape in SHAPES if not found(SETTINGS[name](shape.example("a key")))]
    assert missed == []


def test_keys_of_each_format_are_found_whatever_their_random_part() -> None:
    for shape in SHAPES:
        keys = [shape.example(str(seed)) for seed in range(SEEDS)]
        missed = [key for key in keys if not found(SETTINGS["prose"](key))]
        assert len(missed) <= SEEDS * (0.35 if BROKEN.search(shape.template) else 0.15), shape.name


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.name} {shape.template}")
def test_a_row_of_the_table_is_whole(shape: KeyShape) -> None:
    assert shape.name
    assert "." in shape.source
    assert shape.anchor in shape.template
    assert re.search(shape.before + shape.pattern, shape.example())
    assert shape.example("a") == shape.example("a")
    assert "{" not in shape.template or shape.example("a") != shape.example("b")


@pytest.mark.parametrize(
    "text",
    [
        "ghp_" + "x" * 36,
        "sk-ant-api03-" + "a" * 95,
        "glpat-your-token-goes-right-here",
        "npm_config_registry_and_npm_package_name_and_more",
        "path/to/file.py,sha256=fw_aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA2bC4dE6fG8,120",
        "3f786850e387550fdab836ed7e6dc881de23001b",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "test_that_a_very_long_name_of_a_test_is_no_key_2024",
        "task-0f8fad5bd9cb469fa16570867728950e",
        "this.someService.getUserByAccessTokenAndRefreshToken2",
    ],
)
def test_text_that_only_resembles_a_key_is_let_through(text: str) -> None:
    assert found(text) == set()


def test_a_well_known_scanner_finds_no_key_of_the_tables_that_we_do_not() -> None:
    plugins = [
        "AWSKeyDetector DiscordBotTokenDetector GitHubTokenDetector GitLabTokenDetector",
        "MailchimpDetector NpmDetector OpenAIDetector PypiTokenDetector SendGridDetector",
        "SlackDetector SquareOAuthDetector StripeDetector TelegramBotTokenDetector",
        "TwilioKeyDetector JwtTokenDetector AzureStorageKeyDetector",
    ]
    config = {"plugins_used": [{"name": name} for name in " ".join(plugins).split()]}
    scanner = PrivacyScanner()
    judged = 0
    with transient_settings(config):
        for shape in SHAPES:
            for setting in ("prose", "code", "an environment file"):
                for line in SETTINGS[setting](shape.example("a key")).splitlines():
                    if list(scan_line(line)):
                        judged += 1
                        assert scanner.scan(orjson.dumps({"content": line})), shape.name
    assert judged >= 90
