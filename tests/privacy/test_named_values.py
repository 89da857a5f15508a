"""Secrets that are known by a name, an address or a heading beside them."""

import base64
import time

import pytest

from router.privacy.named_values import values_in
from router.privacy.runs import Text
from tests.support.keys import ALNUM, LOWER_HEX, URL_SAFE, made_up

MIXED = made_up(ALNUM, 32, "mixed")
HEX = made_up(LOWER_HEX, 40, "hex")
SAFE = made_up(URL_SAFE, 40, "safe")
BASE64 = made_up(ALNUM + "+/", 43, "base64") + "="
PASSWORD = "h7#Kq!2v"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


UUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
PEM_TEXT = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA" + made_up(ALNUM, 80, "pem")


def found(text: str) -> set[str]:
    return {found.rule for found in values_in(Text.of(text.encode()))}


@pytest.mark.parametrize(
    "text",
    [
        f"MYAPP_KEY={MIXED}",
        f"export ACME_TOKEN='{SAFE}'",
        f'ACME_SECRET = "{HEX}"',
        f"DB_PASS={PASSWORD}",
        f'DB_PASSWORD="{PASSWORD}"  # the database',
        f"SMTP_PWD: {PASSWORD}",
        f"      - REDIS_PASSWORD={PASSWORD}",
        f"docker run -e API_TOKEN={MIXED} image",
        f"ENV ACME_KEY={HEX}",
        f'{{"client_secret": "{MIXED}"}}',
        f'{{"SecretAccessKey": "{BASE64[:40]}"}}',
        f'{{"env": {{"ACME_TOKEN": "{UUID}"}}}}',
        f"apiKey: '{MIXED}',",
        f"const accessToken = `{SAFE}`;",
        f"<apiKey>{MIXED}</apiKey>",
        f"x-api-key: {HEX}",
        f"curl --api-key={HEX}",
        f"//registry.npmjs.org/:_authToken={UUID}",
        f"[Interface]\nPrivateKey = {BASE64}",
        f"AccountKey={BASE64}",
        f'"auth": "{base64.b64encode(b"me:" + MIXED.encode()).decode()}"',
        f"- name: DB_PASSWORD\n  value: {MIXED}",
        f"algolia_key = '{HEX}'",
        "SECRET_KEY = 'k#9v!x2@q8z$w4^m7&r1*t5(p3'",
        f"ONFLEET_TOKEN={MIXED}",
        f"const someServiceKey = '{MIXED}'",
        f"bitbucket_client_id: {HEX}",
        f"Our Adafruit API key is {HEX}, is it still valid?",
        f"the token was {MIXED} until yesterday",
        f"Our Airtable key is {MIXED[:17]}, is it right?",
        f"my mapbox access token: {MIXED[:17]}",
        f"The Heroku secret is {UUID}.",
        f"{MIXED} is my API key",
        f"`{HEX}` (the Airtable API key) worked",
        f"use {MIXED} as the Acme token for now",
        f"I think {UUID} is the Heroku key.",
        f'System.setProperty("ACME_TOKEN", "{MIXED}")',
        f'req.Header.Set("X-Acme-Api-Key", "{HEX}")',
        f"ACME_TOKEN ?= {MIXED}",
        f'acme_token := "{MIXED}"',
        f'"acmeToken" => "{MIXED}"',
        f"<acmeToken>\n    {MIXED}\n</acmeToken>",
        f"acme_token: |\n  {MIXED}",
        f'<add key="ClearTextPassword" value="{PASSWORD}" />',
        f"app_token: {MIXED[:16]}.{MIXED[16:]}.{SAFE}",
    ],
)
def test_a_value_that_is_named_as_a_secret_is_found(text: str) -> None:
    assert found(text)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (f"postgres://app:{MIXED}@db.internal:5432/app", "password in an address"),
        (f"DATABASE_URL=mysql+pymysql://root:{PASSWORD}@10.0.0.1/x", "password in an address"),
        (f"amqps://user:{HEX}@mq:5671", "password in an address"),
        (f"mongodb+srv://me:{SAFE}@cluster0.x.mongodb.net", "password in an address"),
        (f"redis://:{MIXED}@cache:6379/0", "password in an address"),
        (f"https://oauth2:{MIXED}@git.example/x.git", "password in an address"),
        (f"Authorization: Bearer {SAFE}", "Authorization header"),
        (f"-H 'authorization: token {HEX}'", "Authorization header"),
        (f'headers={{"Authorization": "Bearer {MIXED}"}}', "Authorization header"),
        (
            f"Authorization: Basic {base64.b64encode(b'me:' + HEX.encode()).decode()}",
            "Authorization header",
        ),
        (f"machine h.example login me password {PASSWORD}1", "password in a netrc file"),
        (f"curl -u me:{PASSWORD}1 https://x.example", "password of a command"),
        (f"https://x.blob.core.windows.net/c?sv=1&sig={BASE64}", "Azure shared access signature"),
        (PEM_TEXT, "private key"),
        (
            f"client-key-data: {base64.b64encode(PEM_TEXT.encode()).decode()}",
            "private key",
        ),
        (
            f"kind: Secret\nmetadata:\n  name: db\ndata:\n  password: {_base64(MIXED)}\n",
            "Kubernetes secret",
        ),
        (
            f"data:\n  user: {_base64('me')}\n  pw: {_base64(PASSWORD + '1')}\nkind: Secret\n",
            "Kubernetes secret",
        ),
        (f"Private-Lines: 14\n{made_up(ALNUM, 64, 'putty')}", "private key"),
    ],
)
def test_a_secret_with_a_telling_place_is_found(text: str, rule: str) -> None:
    assert rule in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY=your-api-key-goes-here",
        "API_KEY=${OTHER_KEY}",
        "API_KEY=<insert the key>",
        "SECRET_KEY = os.environ['SECRET_KEY']",
        "password = get_password(user)",
        "password: string().min(8).required()",
        "PASSWORD=changeme123",
        "DB_PASSWORD=postgres",
        "token = tokens[position].value",
        f"publicKeyToken={HEX[:16]}",
        f"public_key = '{HEX}'",
        f"primaryKey: '{MIXED}'",
        f"nextPageToken: '{SAFE}'",
        f"sha256 = '{HEX}'",
        f"commit {HEX}",
        f"integrity: 'sha512-{SAFE}'",
        "CACHE_KEY = 'users_by_name_and_city_v2'",
        "clientSecret = this.#clientAuthentication.clientSecret",
        "credentials = CallCredentials1.createFromGoogleCredential",
        "http://user:password@host.example/",
        "postgres://user:pass@localhost/db",
        "postgresql://scott:tiger@localhost/test",
        "http://{user}:{password}@host",
        "https://docs.example/a:b@c",
        "git@github.com:me/repo.git",
        "Authorization: Bearer <token>",
        "Authorization: Bearer your_access_token_goes_here",
        "Authorization: Basic dXNlcjpwYXNzd29yZA==",
        "The bearer of this letter, a certain Mr. Smith2, is my friend.",
        "-----BEGIN PRIVATE KEY----- is how such a file begins",
        "login with your password and then continue",
        "arn:aws:secretsmanager:us-west-2:123456789012:secret:MyTestDatabaseSecret-a1b2c3",
        '"AWS::SecretsManager::Secret": "c85175a4ebcce361"',
        f'"LockToken": "{UUID}"',
        f'"key": "documents/{UUID}"',
        f'"siteKey": "{MIXED}"',
        f"bucketKey: '{MIXED}'",
        "password: Passw0rd!",
        "password = SomeKindOfPassword123!@#",
        "passphrase: AB1C2defGHijkLMNo3PqQRstUvwxyzaBCDEfgh",
        "private_key: a123b45c6d78e9f012a34cd5e6a7890b12c3d45e6f78",
        f"password: '{_base64('not my real password')}'",
        "private_key: PKCS7PrivateKeyTypes2",
        "private_key: keys/private_key_admin1.pem",
        "e.Minipass=t.isWritable=t.isReadable=t.isStream2",
        "public_key: MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE1Olb3zMAFFxXKHiIkQO5cJ3Yhl",
        "names = ['some_krb5_key', 'some_krb5_rfc1964_keydata2', 'x']",
        f"kind: Secret\ndata:\n  user: {_base64('admin')}\n",
        "the key is in the second drawer, under version_2_of_the_map",
        f"The public key is {MIXED}.",
        f"The idempotency key is {UUID}, as always.",
        f"{MIXED} is the cache key.",
        f"commit {HEX[:40]} is the key change",
        f"see {UUID} (the request id)",
        f"Example api_key='{MIXED}'",
        "Authorization: Basic YW55dGhpbmc6YW55dGhpbmc",
        f"a=ice-pwd:{MIXED}",
        f'"rsaEncryptedKey": "{SAFE}"',
        f"https://docs.example/edit?resourcekey={MIXED}",
        f"-----BEGIN PRIVATE KEY-----\n<key>\n-----END PRIVATE KEY-----\n{MIXED * 3}",
    ],
)
def test_a_value_that_is_no_secret_is_let_through(text: str) -> None:
    assert found(text) == set()


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "piece",
    [
        *("password=", "secret: ", "://a:", "://a:b@", "Authorization: Bearer ", "curl ", "sig="),
        *("PRIVATE KEY-----", "LS0tLS1CRUdJTi", '"value": "', "API_KEY=a1B2c3D4e5F6g7H8i9J0 "),
        *("a1B2c3D4e5F6g7H8i9J0 is my api ", "api key ", "the api key is a1B2c3D4e5F6g7H8i9J0 "),
        *("machine a login b password ", "a1b2c3d4e5f6g7h8+", "token='" + "a1" * 20 + "' "),
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    text = Text.of((piece * (300_000 // len(piece))).encode())
    began = time.process_time()
    for _ in values_in(text):
        pass
    assert time.process_time() - began < 3
