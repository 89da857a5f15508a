"""Names of variables, fields and headers that hold a secret: `apiKey`, `DB_PASS`, `NAME_TOKEN`."""

import re
from enum import IntEnum
from functools import lru_cache
from typing import Final

_NO_LETTERS: Final = re.compile(r"[^a-z]+")
_SEPARATOR: Final = re.compile(r"[_.-]+")
_PASSWORD: Final = re.compile(
    r"(?:pass|pwd|passw|password|passwd|passphrase|passwort|passcode|secret|secretkeybase)\Z"
)
_KEY: Final = re.compile(
    r"(?:api|secret|access|private|auth|account|sign(?:ing)?|encryption|encrypt|master|service"
    r"|license|shared|client|app(?:lication)?|admin|storage|webhook|deploy|write|user|ingest"
    r"|integration|licence|subscription|project|server|team|org|live|prod|test)key\Z"
)
_TOKEN: Final = re.compile(
    r"(?:^|auth|access|bearer|api|app|bot|id|refresh|secret|session|user|service|admin|personal"
    r"|private|deploy|login|oauth|push|hub|lab|npm|cloud|vault|jwt|sas|pat|security|web|server"
    r"|registry|webhook|master|root|account|client|team|org|dev|test|prod|live)token\Z"
)
_CREDENTIAL: Final = re.compile(
    r"(?:credentials?|creds|(?:^|npm|registry|docker|http|basic|proxy|user)auth|dsn)\Z"
)
_ENV: Final = re.compile(r"[A-Z][A-Z0-9]*_[A-Z0-9_]*(?:KEY|TOKEN|AUTH|PAT)(?:_?[0-9]{1,2})?\Z")
_OTHER: Final = re.compile(r"(?:key|token|auth)\Z")
_OF_SERVICE: Final = re.compile(
    r"(?:key|token|secret|auth|login|pat|password|(?:client|access|app)id)\Z"
)
_SERVICE: Final = re.compile(
    r"adafruit|adobe|airtable|algolia|alibaba|asana|atlassian|auth0|beamer|bitbucket"
    r"|bittrex|braintree|brevo|cisco|cloudflare|cloudinary|codecov|cohere|coinbase|confluen"
    r"|contentful|datadog|deepgram|discord|drone|dropbox|elastic|etsy|facebook|fastly"
    r"|finicity|finnhub|firebase|flickr|freshbooks|freshdesk|gemini|gitea|github|gitlab|gitter"
    r"|grafana|heroku|honeycomb|hubspot|intercom|jenkins|jfrog|artifactory|jira|kraken"
    r"|kucoin|launchdarkly|linear|linkedin|looker|mailchimp|mailgun|mandrill|mapbox|mattermost"
    r"|meraki|messagebird|mistral|mixpanel|mongo|netlify|newrelic|nytimes|okta|openai"
    r"|opsgenie|pagerduty|paypal|pinecone|plaid|postmark|privateai|rapidapi|redis|rollbar"
    r"|segment|sendbird|sendgrid|sentry|shopify|slack|snyk|sonar|spotify|square|stripe|sumo"
    r"|supabase|telegr|travis|trello|twilio|twitch|twitter|typeform|vercel|webex|yandex"
    r"|zendesk|zoom"
)
_PUBLIC: Final = re.compile(
    r"(?:client|request|idempotency)[_.-]?token|public|pub[_.-]?key|primary|foreign|cache|sort"
    r"|partition|next|page|lock[_.-]?token|change[_.-]?token|csrf|xsrf|continuation|sync|cursor"
    r"|translation|(?:^|_)pk|hash|digest"
    r"|fingerprint|checksum|integrity|version|commit|(?<!bit)bucket|lookup|sequence|schema|natural"
    r"|index|example|sample|dummy|ice[_-]?pwd|site[_.-]?key|i18n|locale|message[_.-]?key|registry_?key"
    r"|(?:object|storage|image|file|asset|s3|resource)[_.-]?key|encrypted"
    r"|key[_.-]?id|keyboard|monkey|hockey|donkey|turkey|jockey|keyframe|etag|routing|dedup"
)


class Names(IntEnum):
    """How sure a name is that its value is a secret; the surer, the shorter the value may be."""

    NOTHING = 0
    MAYBE = 1
    """A key or token of some kind: `fooKey`, `key`."""
    SECRET = 2
    PASSWORD = 3


@lru_cache(maxsize=4096)
def named(name: str) -> Names:
    """Return how sure it is that a value of this name is a secret."""
    lower = name.lower()
    letters = _NO_LETTERS.sub("", lower)
    if _PUBLIC.search(lower):
        return Names.NOTHING
    if _PASSWORD.search(letters) or _ENV.search(name):
        return Names.PASSWORD
    if _OF_SERVICE.search(letters) and _SERVICE.search(_SEPARATOR.sub("", lower)):
        return Names.PASSWORD
    if _KEY.search(letters) or _TOKEN.search(letters) or _CREDENTIAL.search(letters):
        return Names.SECRET
    return Names.MAYBE if _OTHER.search(letters) else Names.NOTHING
