"""Invented keys in the shapes of real ones; none of them works anywhere.

They are built at run time, so that no secret scanner takes them for leaked keys.
"""

import random
import string

LOWER_HEX = "0123456789abcdef"
ALNUM = string.ascii_letters + string.digits
BASE32 = string.ascii_uppercase + "234567"
URL_SAFE = ALNUM + "-_"


def made_up(alphabet: str, size: int, seed: str) -> str:
    """Return random characters, the same for the same seed; the first is a digit."""
    dice = random.Random(seed)
    last = dice.choice([character for character in alphabet if character.isalnum()])
    return "7" + "".join(dice.choices(alphabet, k=size - 2)) + last


CANARIES = {
    "Anthropic": "sk-ant-api03-" + made_up(URL_SAFE, 95, "anthropic"),
    "OpenAI project": "sk-proj-" + made_up(ALNUM, 60, "project"),
    "OpenAI service": "sk-svcacct-" + made_up(ALNUM, 60, "service"),
    "OpenAI legacy": "sk-" + made_up(ALNUM, 20, "a") + "T3BlbkFJ" + made_up(ALNUM, 20, "b"),
    "OpenAI named": "sk-my-team-" + made_up(ALNUM, 20, "c") + "T3BlbkFJ" + made_up(ALNUM, 20, "d"),
    "DeepSeek": "sk-" + made_up(LOWER_HEX, 32, "deepseek"),
    "OpenRouter": "sk-or-v1-" + made_up(LOWER_HEX, 64, "openrouter"),
    "Google": "AIza" + made_up(URL_SAFE, 35, "google"),
    "Google, newer": "AQ." + made_up(URL_SAFE, 50, "aq"),
    "Google OAuth": "ya29." + made_up(URL_SAFE, 60, "oauth"),
    "Google client": "GOCSPX-" + made_up(URL_SAFE, 28, "client"),
    "AWS id": "AKIA" + made_up(BASE32, 16, "aws"),
    "AWS session id": "ASIA" + made_up(BASE32, 16, "sts"),
    "AWS secret": "aws_secret_access_key = " + made_up(ALNUM + "/+", 40, "awssecret"),
    "AWS secret in the environment": "AWS_SECRET_ACCESS_KEY=" + made_up(ALNUM + "/", 40, "env"),
    "GitHub": "ghp_" + made_up(ALNUM, 36, "github"),
    "GitHub app": "ghs_" + made_up(ALNUM, 36, "app"),
    "GitHub app, newer": "ghs_123456_eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9."
    + made_up(URL_SAFE, 300, "newer"),
    "GitHub fine-grained": "github_pat_" + made_up(ALNUM + "_", 82, "pat"),
    "GitLab": "glpat-" + made_up(URL_SAFE, 20, "gitlab"),
    "Slack bot": "xoxb-" + "123456789012-1234567890123-" + made_up(ALNUM, 24, "slack"),
    "Slack app": "xapp-1-A0123456789-1234567890123-" + made_up(LOWER_HEX, 64, "slackapp"),
    "Stripe": "sk_live_" + made_up(ALNUM, 24, "stripe"),
    "Stripe restricted": "rk_live_" + made_up(ALNUM, 24, "restricted"),
    "npm": "npm_" + made_up(ALNUM, 36, "npm"),
    "PyPI": "pypi-AgEIcHlwaS5vcmc" + made_up(URL_SAFE, 120, "pypi"),
    "Hugging Face": "hf_" + "".join(random.Random("hf").choices(string.ascii_letters, k=34)),
    "SendGrid": "SG." + made_up(URL_SAFE, 22, "send") + "." + made_up(URL_SAFE, 43, "grid"),
    "Groq": "gsk_" + made_up(ALNUM, 52, "groq"),
    "xAI": "xai-" + made_up(ALNUM, 80, "xai"),
    "Perplexity": "pplx-" + made_up(ALNUM, 48, "perplexity"),
    "NVIDIA": "nvapi-" + made_up(URL_SAFE, 64, "nvidia"),
    "Replicate": "r8_" + made_up(ALNUM, 37, "replicate"),
    "DigitalOcean": "dop_v1_" + made_up(LOWER_HEX, 64, "ocean"),
    "Docker": "dckr_pat_" + made_up(URL_SAFE, 27, "docker"),
    "Notion": "ntn_" + made_up(ALNUM, 46, "notion"),
    "Shopify": "shpat_" + made_up(LOWER_HEX, 32, "shopify"),
    "Atlassian": "ATATT3" + made_up(URL_SAFE, 180, "atlassian"),
    "age": "AGE-SECRET-KEY-1" + made_up(BASE32, 58, "age"),
    "Supabase": "sbp_" + made_up(LOWER_HEX, 40, "supabase"),
    "Pinecone": "pcsk_" + made_up(ALNUM + "_", 70, "pinecone"),
    "LangSmith": "lsv2_pt_"
    + made_up(LOWER_HEX, 32, "langsmith")
    + "_"
    + made_up(LOWER_HEX, 10, "x"),
    "Vault": "hvs." + made_up(URL_SAFE, 90, "vault"),
    "Databricks": "dapi" + made_up(LOWER_HEX, 32, "databricks"),
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9." + made_up(URL_SAFE, 43, "jwt"),
}
