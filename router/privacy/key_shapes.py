"""What well-known keys look like: one table, for what must stay here and what must not be logged.

Only shapes that nothing else has: a distinctive beginning, and a tail as long as the real one.
Placeholders (`sk-your-key-here`, `ghp_xxxxxxxx`) are no keys: where names could have the shape,
the tail must have a digit (`DIGIT`), or a digit and a capital (`MIXED`).
Every pattern is linear: after its literal beginning, each repeat is bounded or ends the pattern.
"""

import re
from dataclasses import dataclass
from typing import Final

DIGIT: Final = r"(?=[A-Za-z_-]{0,80}[0-9])"
MIXED: Final = DIGIT + r"(?=[a-z0-9_-]{0,80}[A-Z])"
END: Final = r"(?![A-Za-z0-9_-])"


@dataclass(frozen=True, slots=True)
class KeyShape:
    """A kind of key: `start` is literal text, `rest` a pattern for what follows it."""

    name: str
    start: str
    rest: str

    @property
    def pattern(self) -> str:
        return rf"{re.escape(self.start)}(?![xX]{{6}}){self.rest}"


SHAPES: Final[tuple[KeyShape, ...]] = (
    KeyShape("Anthropic API key", "sk-ant-", MIXED + r"[A-Za-z0-9_-]{24,}"),
    KeyShape("OpenAI API key", "sk-proj-", MIXED + r"[A-Za-z0-9_-]{24,}"),
    KeyShape("OpenAI API key", "sk-svcacct-", MIXED + r"[A-Za-z0-9_-]{24,}"),
    KeyShape("OpenAI API key", "sk-admin-", MIXED + r"[A-Za-z0-9_-]{24,}"),
    KeyShape("OpenRouter API key", "sk-or-v1-", r"[0-9a-f]{32,}"),
    KeyShape("API key (sk-...)", "sk-", DIGIT + r"[A-Za-z0-9]{32,}"),
    KeyShape("OpenAI API key", "sk-", r"[A-Za-z0-9_-]{0,40}[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
    KeyShape("Google API key", "AIza", r"[0-9A-Za-z_-]{35}" + END),
    KeyShape("Google API key", "AQ.", MIXED + r"[A-Za-z0-9_-]{40,}"),
    KeyShape("Google OAuth client secret", "GOCSPX-", r"[A-Za-z0-9_-]{28}" + END),
    KeyShape("Google OAuth token", "ya29.", MIXED + r"[A-Za-z0-9_-]{20,}"),
    KeyShape("AWS access key id", "AKIA", r"(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}" + END),
    KeyShape("AWS access key id", "ASIA", r"(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}" + END),
    *(
        KeyShape(
            "AWS secret access key",
            start,
            r"[\"'\\ :=>]{1,8}(?![A-Za-z0-9/+]{0,33}EXAMPLE)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
        )
        for start in ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY")
    ),
    *(
        KeyShape("GitHub token", start, r"[A-Za-z0-9]{36,}")
        for start in ("ghp_", "gho_", "ghu_", "ghs_", "ghr_")
    ),
    KeyShape("GitHub token", "ghs_", r"[0-9]+_eyJ[A-Za-z0-9_-]{10,500}\.eyJ[A-Za-z0-9_-]{10,}\."),
    KeyShape("GitHub token", "github_pat_", r"[A-Za-z0-9_]{50,}"),
    *(
        KeyShape("GitLab token", start, DIGIT + r"[A-Za-z0-9_-]{20,}")
        for start in ("glpat-", "gldt-", "glft-", "glsoat-", "glrt-", "glcbt-", "glptt-", "gloas-")
    ),
    KeyShape("Slack token", "xox", r"[abeoprs]-(?:[0-9]+-){1,5}[A-Za-z0-9]{8,}"),
    KeyShape("Slack token", "xapp-", r"[0-9]-[A-Z0-9]{8,20}-[0-9]+-[a-f0-9]{16,}"),
    KeyShape("Stripe key", "sk_live_", r"[0-9A-Za-z]{24,}"),
    KeyShape("Stripe key", "rk_live_", r"[0-9A-Za-z]{24,}"),
    KeyShape("npm token", "npm_", r"[A-Za-z0-9]{36}" + END),
    KeyShape("PyPI token", "pypi-", r"A[A-Za-z0-9_-]{70,}"),
    KeyShape("Hugging Face token", "hf_", r"[A-Za-z]{34}" + END),
    KeyShape("Hugging Face token", "hf_", DIGIT + r"[A-Za-z0-9]{34,}"),
    KeyShape("SendGrid key", "SG.", r"[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    KeyShape("Groq API key", "gsk_", r"[A-Za-z0-9]{48,}"),
    KeyShape("xAI API key", "xai-", r"[A-Za-z0-9]{64,}"),
    KeyShape("Perplexity API key", "pplx-", r"[A-Za-z0-9]{40,}"),
    KeyShape("NVIDIA API key", "nvapi-", MIXED + r"[A-Za-z0-9_-]{48,}"),
    KeyShape("Replicate token", "r8_", r"[A-Za-z0-9]{37}" + END),
    KeyShape("DigitalOcean token", "dop_v1_", r"[a-f0-9]{64}"),
    KeyShape("Databricks token", "dapi", r"[a-f0-9]{32}(?:-[0-9])?" + END),
    KeyShape("Docker token", "dckr_pat_", MIXED + r"[A-Za-z0-9_-]{20,}"),
    KeyShape("Vault token", "hvs.", MIXED + r"[A-Za-z0-9_-]{24,}"),
    KeyShape("Notion token", "ntn_", r"[A-Za-z0-9]{40,}"),
    KeyShape("Shopify token", "shpat_", r"[a-fA-F0-9]{32}"),
    KeyShape("Atlassian token", "ATATT3", r"[A-Za-z0-9_=-]{100,}"),
    KeyShape("Supabase token", "sbp_", r"[a-f0-9]{40}"),
    KeyShape("Pinecone key", "pcsk_", MIXED + r"[A-Za-z0-9_]{50,}"),
    KeyShape("LangSmith key", "lsv2_", r"[a-z]{2}_[a-f0-9]{32}"),
    KeyShape("age secret key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{58}"),
    # But not the one of all tutorials, of a John Doe.
    KeyShape(
        "JSON web token",
        "eyJ",
        r"[A-Za-z0-9_-]{10,500}\.(?!eyJzdWIiOiIxMjM0NTY3ODkwI)eyJ[A-Za-z0-9_-]{10,}\.",
    ),
)

PEM: Final = KeyShape(
    "private key",
    "PRIVATE KEY",
    r"(?: BLOCK)?-----(?:[^-]|-(?!-)){0,200}?[A-Za-z0-9+/]{40}",
)
"""A private key in its armour: the header alone is in every manual, so key material must follow."""
