"""Keys of code hosts, package registries, build services and what developers work with."""

from typing import Final

from router.privacy.key_shapes.shape import UUID, KeyShape

_GITHUB: Final = "docs.github.com/authentication/keeping-your-account-and-data-secure"
_GITLAB: Final = "docs.gitlab.com/security/tokens"
_ATLASSIAN: Final = "support.atlassian.com/security-and-access-policies"
_SONAR: Final = "docs.sonarsource.com/sonarqube-server/user-guide/managing-tokens"

CODE: Final = (
    *(
        KeyShape("GitHub token", f"{start}_{{a:36+}}", _GITHUB)
        for start in ("ghp", "gho", "ghu", "ghs", "ghr")
    ),
    KeyShape("GitHub app token (newer)", "ghs_{d:1-20}_eyJ{u:10-600}.eyJ{u:10+}", _GITHUB),
    KeyShape("GitHub fine-grained token", "github_pat_{w:50+}", _GITHUB),
    *(
        KeyShape("GitLab token", f"{start}-{{u:20+}}", _GITLAB)
        for start in (
            *("glpat", "gldt", "glft", "glsoat", "glrt", "glptt", "gloas", "glffct", "glimt"),
            *("glagent", "glwt", "glrtr", "glcbt"),
        )
    ),
    KeyShape("GitLab job token", "glcbt-{l:1-5}_{u:20+}", _GITLAB),
    KeyShape("GitLab runner token (older)", "GR1348941{u:20}", _GITLAB),
    KeyShape("GitLab session", "_gitlab_session={l:32}", _GITLAB),
    KeyShape("Bitbucket app password", "ATBB{a:28-32}", _ATLASSIAN),
    KeyShape("Bitbucket token", "ATCTT3xFfG{u:60+}", _ATLASSIAN),
    KeyShape("Atlassian token", "ATATT3{u:60+}", _ATLASSIAN),
    KeyShape("Atlassian OAuth token", "ATOA{u:60+}", _ATLASSIAN),
    KeyShape("Atlassian Data Center token", "BBDC-{b:40-44}", _ATLASSIAN),
    KeyShape("npm token", "npm_{a:36}", "docs.npmjs.com/about-access-tokens"),
    KeyShape("PyPI token", "pypi-{u:60+}", "pypi.org/help/#apitoken"),
    KeyShape("RubyGems key", "rubygems_{x:48}", "guides.rubygems.org/api-key-scopes"),
    KeyShape("NuGet key", "oy2{l:43}", "learn.microsoft.com/nuget"),
    KeyShape("Clojars token", "CLOJARS_{l:60}", "github.com/clojars/clojars-web/wiki"),
    KeyShape("crates.io token", "cio{a:32}", "doc.rust-lang.org/cargo/reference/publishing.html"),
    KeyShape("Packagist token", "packagist_{l:3}_{X:40+}", "packagist.com/docs"),
    KeyShape("Docker personal token", "dckr_pat_{u:20+}", "docs.docker.com/security/access-tokens"),
    KeyShape("Docker organization token", "dckr_oat_{u:20+}", "docs.docker.com/security"),
    KeyShape("Expo token", "expo_{u:30+}", "docs.expo.dev"),
    KeyShape("CircleCI token", "CCIPAT_{a:22}_{x:40}", "circleci.com/docs/managing-api-tokens"),
    KeyShape("CircleCI project token", "CCIPRJ_{a:22}_{x:40}", "circleci.com/docs"),
    KeyShape("Buildkite token", "bkua_{x:40}", "buildkite.com/docs/apis/managing-api-tokens"),
    KeyShape("Octopus Deploy key", "API-{c:26}", "octopus.com/docs/octopus-rest-api"),
    *(KeyShape("SonarQube token", f"{start}_{{x:40}}", _SONAR) for start in ("squ", "sqp", "sqa")),
    KeyShape("SonarCloud token", "sqco_{a:59}", _SONAR),
    KeyShape(
        "Sentry organization token", "sntrys_eyJ{b:40+}", "docs.sentry.io/account/auth-tokens"
    ),
    KeyShape("Sentry user token", "sntryu_{x:64}", "docs.sentry.io/account/auth-tokens"),
    KeyShape("Sentry app token", "sntrya_{x:64}", "docs.sentry.io/account/auth-tokens"),
    KeyShape("Linear key", "lin_api_{a:32+}", "linear.app/developers"),
    KeyShape("Linear OAuth token", "lin_oauth_{a:32+}", "linear.app/developers"),
    *(
        KeyShape("Figma token", f"{start}_{{u:38+}}", "developers.figma.com/docs/rest-api")
        for start in ("figd", "figo", "figp", "figor", "figoh", "figur", "figuh")
    ),
    KeyShape("Notion token", "ntn_{a:40+}", "developers.notion.com/docs/authorization"),
    KeyShape("Notion token (older)", "secret_{a:43}", "developers.notion.com/docs/authorization"),
    KeyShape(
        "Airtable token", "pat{a:14}.{x:64}", "airtable.com/developers/web/api/authentication"
    ),
    KeyShape("Airtable OAuth token", "oaa{a:14}.v1.{a:20+}", "airtable.com/developers"),
    KeyShape("Postman key", "PMAK-{x:24}-{x:34}", "learning.postman.com/docs/developer"),
    KeyShape("ReadMe key", "rdme_{l:70}", "docs.readme.com"),
    KeyShape("Contentful token", "CFPAT-{u:43}", "contentful.com/developers/docs"),
    KeyShape("Sanity token", "skE{a:80+}", "sanity.io/docs/http-auth"),
    KeyShape("ClickUp token", "pk_{d:6-9}_{c:32}", "developer.clickup.com"),
    KeyShape("Zapier webhook", "hooks.zapier.com/hooks/catch/{d:4-10}/{a:6-12}", "help.zapier.com"),
    KeyShape("Typeform token", "tfp_{p:40+}", "typeform.com/developers"),
    KeyShape("SettleMint token", "sm_aat_{a:16}", "console.settlemint.com/documentation"),
    KeyShape("SettleMint personal token", "sm_pat_{a:16}", "console.settlemint.com/documentation"),
    KeyShape("SettleMint service token", "sm_sat_{a:16}", "console.settlemint.com/documentation"),
    KeyShape("Intra42 secret", "s-s4t2ud-{x:64}", "api.intra.42.fr/apidoc"),
    KeyShape("Intra42 secret (newer)", "s-s4t2af-{x:64}", "api.intra.42.fr/apidoc"),
    KeyShape("LaunchDarkly API key", f"api-{UUID}", "launchdarkly.com/docs/home/account/api"),
    KeyShape("LaunchDarkly SDK key", f"sdk-{UUID}", "launchdarkly.com/docs/sdk"),
    KeyShape("Percy token", "web_{x:64}", "percy.io/docs"),
    KeyShape("Frame.io token", "fio-u-{p:64}", "developer.frame.io"),
    KeyShape("Rootly key", "rootly_{x:64}", "docs.rootly.com"),
    KeyShape("Adafruit IO key", "aio_{a:28}", "io.adafruit.com/api/docs"),
    KeyShape("Trigger.dev key", "tr_prod_{a:20+}", "trigger.dev/docs"),
    KeyShape("Django secret key", "django-insecure-{s:40+}", "docs.djangoproject.com"),
    KeyShape("JSON web token", "eyJ{u:14-600}.eyJ{u:10+}", "rfc-editor.org/rfc/rfc7519"),
    KeyShape("Trello token", "ATTA{X:60+}", "developer.atlassian.com/cloud/trello"),
    KeyShape("JSON web token in base64", "ZXlK{b:40+}", "rfc-editor.org/rfc/rfc7519"),
    KeyShape("JSON web token in base64url", "ZXlK{u:40+}", "rfc-editor.org/rfc/rfc7519"),
    KeyShape(
        "JSON web token of any header",
        "ey{u:17-600}.ey{u:14+}",
        "rfc-editor.org/rfc/rfc7519",
    ),
    KeyShape("Sidekiq login", "CONTRIBSYS__COM={x:8}:{x:8}", "github.com/sidekiq/sidekiq/wiki"),
    KeyShape("Buildkite cluster token", "bkct_{u:40+}", "buildkite.com/docs/agent"),
    KeyShape("Buildkite agent token", "bkaj_{u:40+}", "buildkite.com/docs/agent"),
    KeyShape("Depot token", "depot_project_{x:60+}", "depot.dev/docs"),
    KeyShape("Depot organization token", "depot_org_{x:60+}", "depot.dev/docs"),
    KeyShape("Snyk service token", "snyk_sat.{u:8}.{p:60+}", "docs.snyk.io"),
    KeyShape("Snyk user token", "snyk_uat.{u:8}.{p:60+}", "docs.snyk.io"),
    KeyShape("Socket key", "sktsec_{u:40+}", "docs.socket.dev"),
    KeyShape("JSR token", "jsrp_{a:36}", "jsr.io/docs"),
    KeyShape("JSR device token", "jsrd_{a:36}", "jsr.io/docs"),
    KeyShape("Rancher token", "token-{l:5}:{l:54}", "ranchermanager.docs.rancher.com"),
    KeyShape("Wix key", "IST.eyJ{p:80+}", "dev.wix.com/docs"),
    KeyShape("pganalyze key", "pgar_{a:28}", "pganalyze.com/docs"),
    KeyShape("TruffleHog key", "thog-key-{x:16}", "docs.trufflesecurity.com"),
    KeyShape("Spectral key", "spu-{x:32}", "docs.spectralops.io"),
    KeyShape("Sentry integration token", "sntryi_{x:64}", "docs.sentry.io/account/auth-tokens"),
    KeyShape("n8n key", "n8n_api_{a:40+}", "docs.n8n.io/api"),
    KeyShape("Canva secret", "cnvca{u:40+}", "canva.dev/docs"),
)
