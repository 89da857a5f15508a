"""Keys of clouds, hosting, databases and infrastructure."""

from typing import Final

from router.privacy.key_shapes.shape import UUID, KeyShape

_AWS: Final = "docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"
_DO: Final = "docs.digitalocean.com/reference/api"
_AZURE: Final = "learn.microsoft.com/azure/storage/common/storage-configure-connection-string"
_VAULT: Final = "developer.hashicorp.com/vault/docs/concepts/tokens"
_DOPPLER: Final = "docs.doppler.com/reference/auth-token-formats"
_PLANETSCALE: Final = "planetscale.com/docs/api"
_CLOUDFLARE: Final = "developers.cloudflare.com/fundamentals/api"
_GRAFANA: Final = "grafana.com/docs/grafana-cloud/security-and-account-management"

CLOUDS: Final = (
    *(
        KeyShape("AWS access key id", f"{start}{{c:16}}", _AWS)
        for start in ("AKIA", "ASIA", "ABIA", "ACCA")
    ),
    KeyShape("AWS access key id (older)", "A3T{c:17}", _AWS),
    KeyShape("Google API key", "AIza{u:35}", "cloud.google.com/docs/authentication/api-keys"),
    KeyShape("Google API key (newer)", "AQ.{u:40+}", "ai.google.dev/gemini-api/docs/api-key"),
    KeyShape("Google OAuth client secret", "GOCSPX-{u:28}", "developers.google.com/identity"),
    KeyShape("Google OAuth token", "ya29.{u:20+}", "developers.google.com/identity/protocols"),
    KeyShape("Google OAuth refresh token", "1//0{u:40+}", "developers.google.com/identity"),
    KeyShape("Azure storage key", "AccountKey={b:86}==", _AZURE),
    KeyShape("Azure shared access key", "SharedAccessKey={b:42+}", _AZURE),
    KeyShape("Azure client secret", "{v:3}{d:1}Q~{v:31-34}", "learn.microsoft.com/entra"),
    *(
        KeyShape("DigitalOcean token", f"{start}_v1_{{x:64}}", _DO)
        for start in ("dop", "doo", "dor")
    ),
    KeyShape("DigitalOcean Spaces key", "DO00{c:16}", _DO),
    KeyShape("Databricks token", "dapi{x:32}", "docs.databricks.com/dev-tools/auth/pat.html"),
    KeyShape("Vault service token", "hvs.{u:24+}", _VAULT),
    KeyShape("Vault batch token", "hvb.{u:24+}", _VAULT),
    KeyShape("Vault recovery token", "hvr.{u:24+}", _VAULT),
    KeyShape(
        "Terraform Cloud token", "{a:14}.atlasv1.{p:60+}", "developer.hashicorp.com/terraform"
    ),
    KeyShape("Tailscale key", "tskey-{l:3-12}-{a:8+}-{a:16+}", "tailscale.com/kb/1085/auth-keys"),
    *(
        KeyShape("Doppler token", f"dp.{kind}.{{a:40-44}}", _DOPPLER)
        for kind in ("pt", "ct", "sa", "st", "scim", "audit")
    ),
    KeyShape("Pulumi token", "pul-{x:40}", "pulumi.com/docs/pulumi-cloud/access-management"),
    *(
        KeyShape("PlanetScale token", f"pscale_{kind}_{{p:32+}}", _PLANETSCALE)
        for kind in ("tkn", "pw", "oauth")
    ),
    KeyShape("Supabase token", "sbp_{x:40}", "supabase.com/docs/guides/api/api-keys"),
    KeyShape("Supabase OAuth token", "sbp_oauth_{x:40}", "supabase.com/docs/guides/api"),
    KeyShape("Supabase secret key", "sb_secret_{u:22+}", "supabase.com/docs/guides/api/api-keys"),
    KeyShape("Neon API key", "napi_{a:40+}", "neon.com/docs/manage/api-keys"),
    KeyShape("Neon password", "npg_{a:12-40}", "neon.com/docs/connect"),
    KeyShape("Xata key", "xau_{a:20+}", "xata.io/docs"),
    KeyShape("ClickHouse Cloud secret", "4b1d{a:38}", "clickhouse.com/docs/cloud/manage/api"),
    KeyShape("Aiven token", "AVNS_{u:19+}", "aiven.io/docs"),
    KeyShape("Render key", "rnd_{a:28+}", "render.com/docs/api"),
    KeyShape("Netlify token", "nfp_{w:36+}", "docs.netlify.com/api/get-started"),
    KeyShape("Netlify CLI token", "nfc_{w:36+}", "docs.netlify.com/api/get-started"),
    *(
        KeyShape("Vercel token", f"{start}_{{a:24+}}", "vercel.com/docs/rest-api")
        for start in ("vcp", "vci", "vca", "vcr", "vck")
    ),
    KeyShape("Vercel Blob token", "vercel_blob_rw_{w:30+}", "vercel.com/docs/storage/vercel-blob"),
    KeyShape("Fly.io token", "fo1_{u:43}", "fly.io/docs/security/tokens"),
    *(
        KeyShape("Fly.io macaroon", f"{start}_{{b:100+}}", "fly.io/docs/security/tokens")
        for start in ("fm1r", "fm1a", "fm2")
    ),
    KeyShape("Heroku key", "HRKU-{u:30+}", "devcenter.heroku.com/articles/platform-api-reference"),
    KeyShape("Cloudflare origin CA key", "v1.0-{x:24}-{x:146}", _CLOUDFLARE),
    *(
        KeyShape("Cloudflare token", f"{start}_{{a:40}}{{x:8}}", _CLOUDFLARE)
        for start in ("cfut", "cfat", "cfk")
    ),
    KeyShape("Alibaba access key id", "LTAI{a:16-24}", "alibabacloud.com/help/en/ram"),
    KeyShape("Tencent secret id", "AKID{a:32}", "cloud.tencent.com/document/product/598"),
    KeyShape("Yandex API key", "AQVN{u:35-38}", "yandex.cloud/docs/iam/concepts"),
    KeyShape("Yandex token", "t1.{u:8+}.{u:86}", "yandex.cloud/docs/iam/concepts"),
    KeyShape("Yandex static key", "YC{u:38}", "yandex.cloud/docs/iam/concepts"),
    KeyShape("IBM Cloud key id", f"ApiKey-{UUID}", "cloud.ibm.com/docs/account"),
    KeyShape("Scaleway access key", "SCW{c:17}", "scaleway.com/en/docs/iam"),
    KeyShape("Scalingo token", "tk-us-{u:48}", "developers.scalingo.com"),
    KeyShape("OpenShift token", "sha256~{u:43}", "docs.openshift.com"),
    KeyShape("Portainer token", "ptr_{b:40+}", "docs.portainer.io/api/access"),
    KeyShape("Defined Networking token", "dnkey-{p:26}-{p:52}", "docs.defined.net"),
    KeyShape("ngrok key", "ak_{a:27}", "ngrok.com/docs/api"),
    KeyShape("Infracost key", "ico-{a:32}", "infracost.io/docs"),
    KeyShape("Grafana service account token", "glsa_{a:32}_{X:8}", _GRAFANA),
    KeyShape("Grafana API key", "eyJrIjoi{a:70+}", _GRAFANA),
    KeyShape("Grafana Cloud token", "glc_{b:32+}", _GRAFANA),
    KeyShape("Harness personal token", "pat.{u:22}.{a:24}.{a:20}", "developer.harness.io"),
    KeyShape("Harness service token", "sat.{u:22}.{a:24}.{a:20}", "developer.harness.io"),
    KeyShape("Prefect token", "pnu_{a:36}", "docs.prefect.io/v3/manage/cloud"),
    KeyShape("Prefect service token", "pnb_{a:36}", "docs.prefect.io/v3/manage/cloud"),
    KeyShape("MaxMind license key", "{a:6}_{a:29}_mmk", "dev.maxmind.com/license-keys"),
    KeyShape("Artifactory API key", "AKCp{a:69}", "jfrog.com/help/r/jfrog-platform-administration"),
    KeyShape("Artifactory reference token", "cmVmd{a:59}", "jfrog.com/help"),
    KeyShape("age secret key", "AGE-SECRET-KEY-1{c:58}", "age-encryption.org/v1"),
    KeyShape("1Password secret key", "A3-{c:6}-{c:11}-{c:5}-{c:5}-{c:5}", "support.1password.com"),
    KeyShape(
        "1Password secret key", "A3-{c:6}-{c:6}-{c:5}-{c:5}-{c:5}-{c:5}", "support.1password.com"
    ),
    KeyShape("1Password service token", "ops_eyJ{b:100+}", "developer.1password.com"),
    KeyShape("Dynatrace token", "dt0c01.{a:24}.{a:64}", "docs.dynatrace.com/docs/dynatrace-api"),
    KeyShape("Azure OpenAI key", "{a:52}JQQJ99{a:26}", "learn.microsoft.com/azure/ai-services"),
    KeyShape("Azure DevOps token", "{a:76}AZDO{a:4}", "learn.microsoft.com/azure/devops"),
    KeyShape(
        "Azure Functions key", "{u:44}AzFu{u:6}==", "learn.microsoft.com/azure/azure-functions"
    ),
    KeyShape("Azure Search key", "{a:42}AzSe{a:6}", "learn.microsoft.com/azure/search"),
    KeyShape(
        "Azure Cache key", "{a:33}AzCa{b:6}=", "learn.microsoft.com/azure/azure-cache-for-redis"
    ),
    KeyShape("Azure Cosmos DB key", "{b:76}ACDb{b:6}==", "learn.microsoft.com/azure/cosmos-db"),
    KeyShape(
        "Azure Service Bus key",
        "{b:33}+ASb{b:6}=",
        "learn.microsoft.com/azure/service-bus-messaging",
    ),
    KeyShape("Azure Event Hubs key", "{b:33}+AEh{b:6}=", "learn.microsoft.com/azure/event-hubs"),
    KeyShape(
        "Azure container registry key",
        "{b:42}+ACR{b:6}",
        "learn.microsoft.com/azure/container-registry",
    ),
    KeyShape("Azure refresh token", "0.AX{u:40+}.AgAB{u:60+}", "learn.microsoft.com/entra"),
    KeyShape(
        "Vault token (older)", "s.{a:24}", "developer.hashicorp.com/vault/docs/concepts/tokens"
    ),
    KeyShape(
        "CockroachDB Cloud key", "CCDB1_{a:22}_{a:40}", "cockroachlabs.com/docs/cockroachcloud"
    ),
    KeyShape("Astra DB token", "AstraCS:{a:24}:{x:64}", "docs.datastax.com/en/astra-db-serverless"),
    KeyShape("MongoDB Atlas service secret", "mdb_sa_sk_{u:40}", "mongodb.com/docs/atlas"),
    KeyShape("Fauna key", "fnA{u:37}", "docs.fauna.com"),
    KeyShape("Exoscale key", "EXO{x:24}", "community.exoscale.com"),
    KeyShape("UpCloud token", "ucat_{c:26}", "developers.upcloud.com"),
    KeyShape("Akamai token", "akab-{l:16}-{l:16}", "techdocs.akamai.com"),
    KeyShape("Backblaze key", "K00{a:28}", "backblaze.com/docs"),
    KeyShape("Infisical token", "st.{x:24}.{x:32}.{x:32}", "infisical.com/docs"),
    KeyShape("Elastic Cloud key", "essu_{a:20+}", "elastic.co/docs"),
    KeyShape("Confluent Cloud secret", "cflt{b:60}", "docs.confluent.io"),
    KeyShape("NetBird token", "nbp_{a:36}", "docs.netbird.io"),
    KeyShape("Ory token", "ory_pat_{a:32}", "ory.sh/docs"),
    KeyShape("Ory access token", "ory_at_{u:40+}", "ory.sh/docs"),
    KeyShape("Permit key", "permit_key_{a:60+}", "docs.permit.io"),
    KeyShape("Netlify OAuth token", "nfo_{w:36+}", "docs.netlify.com"),
    KeyShape("Netlify user token", "nfu_{w:36+}", "docs.netlify.com"),
    KeyShape("Deno Deploy token", "ddo_{a:36}", "docs.deno.com"),
    KeyShape("Metabase key", "mb_{b:40+}=", "metabase.com/docs"),
    KeyShape("dbt Cloud token", "dbtc_{u:30+}", "docs.getdbt.com"),
    KeyShape("dbt Cloud user token", "dbtu_{u:30+}", "docs.getdbt.com"),
    KeyShape("Hex token", "hxtp_{x:32+}", "learn.hex.tech/docs"),
    KeyShape("Alchemy token", "alcht_{a:30}", "alchemy.com/docs"),
    KeyShape("QuickNode key", "QN_{x:32}", "quicknode.com/docs"),
    KeyShape("Tinybird token", "p.eyJ{u:60+}", "tinybird.co/docs"),
)
