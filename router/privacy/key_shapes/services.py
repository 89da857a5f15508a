"""Keys of payment, chat, mail, shop and monitoring services."""

from typing import Final

from router.privacy.key_shapes.shape import UUID, KeyShape

_SLACK: Final = "docs.slack.dev/authentication/tokens"
_DISCORD: Final = "docs.discord.com/developers/reference"
_META: Final = "developers.facebook.com/docs/facebook-login"
_STRIPE: Final = "docs.stripe.com/keys"
_SHOPIFY: Final = "shopify.dev/docs/apps/build/authentication-authorization"
_SQUARE: Final = "developer.squareup.com/docs/build-basics/access-tokens"
_NEWRELIC: Final = "docs.newrelic.com/docs/apis/intro-apis/new-relic-api-keys"
_PLAID: Final = "plaid.com/docs/api"
_AUTHRESS: Final = "authress.io/knowledge-base/docs/authorization/service-clients"
_TWILIO: Final = "twilio.com/docs/iam/api-keys"

SERVICES: Final = (
    *(
        KeyShape("Slack token", f"xox{kind}-{{d:6+}}-{{u:8+}}", _SLACK)
        for kind in ("a", "b", "c", "e", "o", "p", "r", "s")
    ),
    KeyShape("Slack token (older)", "xoxa-{d:1}-{u:20+}", _SLACK),
    *(
        KeyShape("Slack token (legacy)", f"xox{kind}-{number}{{a:10+}}", _SLACK)
        for kind in "ar"
        for number in ("", "{d:1}-")
    ),
    KeyShape("Slack configuration token (bot)", "xoxe.xoxb-{d:1}-{u:20+}", _SLACK),
    KeyShape("Slack browser cookie", "xoxd-{b:40+}", _SLACK),
    KeyShape("Slack app token", "xapp-{d:1}-{c:8-20}-{d:6+}-{l:10+}", _SLACK),
    KeyShape("Slack configuration token", "xoxe.xoxp-{d:1}-{u:20+}", _SLACK),
    KeyShape("Slack refresh token", "xoxe-{d:1}-{u:20+}", _SLACK),
    KeyShape("Slack webhook", "hooks.slack.com/services/T{c:8-12}/B{c:8-12}/{a:24}", _SLACK),
    KeyShape(
        "Slack workflow", "hooks.slack.com/workflows/T{c:8-12}/A{c:8-12}/{d:15-20}/{a:24}", _SLACK
    ),
    KeyShape("Slack trigger", "hooks.slack.com/triggers/T{c:8-12}/{d:8-16}/{x:32}", _SLACK),
    KeyShape("Discord webhook", "/api/webhooks/{d:17-20}/{u:60+}", _DISCORD),
    *(
        KeyShape("Discord bot token", f"{start}{{u:23-27}}.{{u:6}}.{{u:27-40}}", _DISCORD)
        for start in ("M", "N", "O")
    ),
    KeyShape("Telegram bot token", "{d:5-16}:A{u:34}", "core.telegram.org/bots/api"),
    KeyShape(
        "Microsoft Teams webhook",
        ".webhook.office.com/webhookb2/{u:36}@{u:36}/IncomingWebhook/{l:32}",
        "learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors",
    ),
    *(
        KeyShape("Stripe key", f"{kind}_{mode}_{{a:10+}}", _STRIPE)
        for kind in ("sk", "rk")
        for mode in ("live", "test", "prod")
    ),
    KeyShape("Stripe webhook secret", "whsec_{b:24+}", _STRIPE),
    KeyShape("Stripe organization key", "sk_org_{a:20+}", _STRIPE),
    *(
        KeyShape("Shopify token", f"{start}_{{X:32}}", _SHOPIFY)
        for start in ("shpat", "shpca", "shppa", "shpss", "shprt", "shpua", "shpit")
    ),
    KeyShape("Shopify storefront token", "shltm_{u:40}", _SHOPIFY),
    KeyShape("Square token", "sq0atp-{u:22+}", _SQUARE),
    KeyShape("Square secret", "sq0csp-{u:40+}", _SQUARE),
    KeyShape("Square token (newer)", "EAAA{u:22-64}", _SQUARE),
    KeyShape("Facebook token", "EAA{a:100+}", _META),
    KeyShape("Instagram token", "IGQV{u:100+}", "developers.facebook.com/docs/instagram-platform"),
    *(KeyShape("Meta app token", f"{{d:15-16}}{mark}{{u:27-40}}", _META) for mark in "|%"),
    *(
        KeyShape("Plaid token", f"access-{mode}-{UUID}", _PLAID)
        for mode in ("sandbox", "development", "production")
    ),
    KeyShape("Razorpay key", "rzp_live_{a:14+}", "razorpay.com/docs/api"),
    KeyShape("Razorpay test key", "rzp_test_{a:14+}", "razorpay.com/docs/api"),
    KeyShape("PayPal Braintree token", "$production${l:16}${x:32}", "developer.paypal.com"),
    KeyShape("Flutterwave key", "FLWSECK-{l:32}-X", "developer.flutterwave.com"),
    KeyShape("Flutterwave test key", "FLWSECK_TEST-{l:12-32}", "developer.flutterwave.com"),
    KeyShape("Duffel token", "duffel_live_{u:43}", "duffel.com/docs/api"),
    KeyShape("Duffel test token", "duffel_test_{u:43}", "duffel.com/docs/api"),
    KeyShape("EasyPost key", "EZAK{a:54}", "docs.easypost.com"),
    KeyShape("EasyPost test key", "EZTK{a:54}", "docs.easypost.com"),
    KeyShape("Shippo token", "shippo_live_{X:40}", "docs.goshippo.com"),
    KeyShape("Shippo test token", "shippo_test_{X:40}", "docs.goshippo.com"),
    KeyShape("Lob key", "live_{x:35}", "docs.lob.com"),
    KeyShape("Lob test key", "test_{x:35}", "docs.lob.com"),
    KeyShape("GoCardless token", "live_{u:40}", "developer.gocardless.com"),
    KeyShape("Mollie key", "live_{a:30}", "docs.mollie.com"),
    KeyShape("Paddle key", "pdl_live_apikey_{l:26}_{a:22}_{a:3}", "developer.paddle.com"),
    KeyShape("Paddle sandbox key", "pdl_sdbx_apikey_{l:26}_{a:22}_{a:3}", "developer.paddle.com"),
    KeyShape("Paystack key", "sk_live_{x:40}", "paystack.com/docs/api"),
    KeyShape("Ramp secret", "ramp_sec_{a:48}", "docs.ramp.com"),
    KeyShape("Clerk secret key", "sk_live_{a:40+}", "clerk.com/docs"),
    KeyShape("Fullstory key", "na1.{b:100}", "developer.fullstory.com"),
    KeyShape("SendGrid key", "SG.{u:20-24}.{u:39-50}", "twilio.com/docs/sendgrid"),
    KeyShape("Mailgun key", "key-{l:32}", "documentation.mailgun.com"),
    KeyShape("Mailchimp key", "{x:32}-us{d:1-2}", "mailchimp.com/developer"),
    KeyShape("Mandrill key", "md-{u:22}", "mailchimp.com/developer/transactional"),
    KeyShape("Brevo key", "xkeysib-{x:64}-{a:16}", "developers.brevo.com"),
    KeyShape("Brevo SMTP key", "xsmtpsib-{x:64}-{a:16}", "developers.brevo.com"),
    KeyShape("Resend key", "re_{w:24-36}", "resend.com/docs/api-reference"),
    KeyShape("Loops key", "lm_{a:40+}", "loops.so/docs"),
    KeyShape("Twilio key", "SK{X:32}", _TWILIO),
    KeyShape("Telnyx key", "KEY{u:55}", "developers.telnyx.com"),
    KeyShape("Intercom token", "dG9rO{b:50+}", "developers.intercom.com"),
    KeyShape("HubSpot token", f"pat-na1-{UUID}", "developers.hubspot.com"),
    KeyShape("HubSpot token (EU)", f"pat-eu1-{UUID}", "developers.hubspot.com"),
    KeyShape("Klaviyo key", "pk_{x:34}", "developers.klaviyo.com"),
    KeyShape("Salesforce token", "00D{a:15}!{p:60+}", "developer.salesforce.com"),
    KeyShape("Salesforce consumer key", "3MVG9{u:20+}", "developer.salesforce.com"),
    KeyShape("Zoho token", "1000.{x:32}.{x:32}", "zoho.com/accounts/protocol/oauth"),
    KeyShape("Dropbox token", "sl.{p:130+}", "dropbox.com/developers"),
    KeyShape("Adobe client secret", "p8e-{l:32}", "developer.adobe.com/developer-console/docs"),
    KeyShape("Mapbox secret token", "sk.eyJ{u:20-200}.{u:20+}", "docs.mapbox.com/api/overview"),
    KeyShape("PostHog personal key", "phx_{w:40+}", "posthog.com/docs/api"),
    KeyShape("PostHog project key", "phc_{w:40+}", "posthog.com/docs/api"),
    KeyShape("Segment token", "sgp_{a:64}", "segment.com/docs"),
    KeyShape("New Relic user key", "NRAK-{a:27}", _NEWRELIC),
    KeyShape("New Relic insert key", "NRII-{u:25+}", _NEWRELIC),
    KeyShape("New Relic query key", "NRIQ-{u:25+}", _NEWRELIC),
    KeyShape("New Relic browser key", "NRJS-{x:19}", _NEWRELIC),
    KeyShape("New Relic license key (EU)", "eu01xx{x:30}NRAL", _NEWRELIC),
    KeyShape("Datadog application key", "ddapp_{a:34}", "docs.datadoghq.com/account_management"),
    KeyShape("Datadog personal token", "ddp_{a:36}", "docs.datadoghq.com/account_management"),
    KeyShape("Honeycomb ingest key", "hcaik_{l:58}", "docs.honeycomb.io"),
    KeyShape("Honeycomb management key", "hcamk_{l:58}", "docs.honeycomb.io"),
    KeyShape("Logfire token", "pylf_v1_{l:2}_{a:40+}", "logfire.pydantic.dev/docs"),
    KeyShape("Axiom token", f"xaat-{UUID}", "axiom.co/docs"),
    KeyShape("Axiom personal token", f"xapt-{UUID}", "axiom.co/docs"),
    KeyShape("Checkly key", "cu_{x:32}", "checklyhq.com/docs/api"),
    KeyShape("Statsig key", "secret-{a:40+}", "docs.statsig.com"),
    *(
        KeyShape(
            "Authress key",
            f"{start}_{{l:5-30}}.{{l:4-6}}.acc{mark}{{u:10-32}}.{{t:30+}}",
            _AUTHRESS,
        )
        for start in ("sc", "ext", "scauth", "authress")
        for mark in "-_"
    ),
    KeyShape("WorkOS key", "sk_live_{a:30+}", "workos.com/docs"),
    KeyShape("Stytch secret", "secret-live-{u:30+}", "stytch.com/docs"),
    KeyShape("Knock key", "sk_live_{u:30+}", "docs.knock.app"),
    KeyShape("OneSignal key", "os_v2_app_{l:100+}", "documentation.onesignal.com"),
    KeyShape("Riot key", f"RGAPI-{UUID}", "developer.riotgames.com"),
    KeyShape("X bearer token", "AAAAAAAAAAAAAAAAAAAAA{u:20+}", "docs.x.com"),
    KeyShape("Cal.com key", "cal_live_{x:32}", "cal.com/docs"),
    KeyShape("Calendly token", "eyJraWQiOi{u:60+}", "developer.calendly.com"),
    KeyShape("Flutterwave public key", "FLWPUBK_TEST-{l:32}-X", "developer.flutterwave.com"),
    KeyShape("Flutterwave public key (live)", "FLWPUBK-{l:32}-X", "developer.flutterwave.com"),
    KeyShape("Mapbox public token", "pk.eyJ{u:20-200}.{u:20+}", "docs.mapbox.com/api/overview"),
    KeyShape("Mapbox token", "pk.{l:60}.{l:22}", "docs.mapbox.com/api/overview"),
    KeyShape(
        "Slack webhook of any kind",
        "hooks.slack.com/services/{b:43-56}",
        "docs.slack.dev/messaging",
    ),
    KeyShape(
        "Slack workflow of any kind",
        "hooks.slack.com/workflows/{b:43-56}",
        "docs.slack.dev/workflows",
    ),
    KeyShape(
        "Slack trigger of any kind",
        "hooks.slack.com/triggers/{b:43-56}",
        "docs.slack.dev/workflows",
    ),
    KeyShape("SendGrid key of any parts", "SG.{p:66}", "twilio.com/docs/sendgrid"),
    KeyShape("MailerSend token", "mlsn.{x:64}", "developers.mailersend.com"),
    KeyShape("Close key", "api_{a:22}.{a:22}", "developer.close.com"),
    KeyShape("FireHydrant key", "fhb-{x:64}", "docs.firehydrant.com"),
    KeyShape("UptimeRobot key", "u{d:6-9}-{x:24}", "uptimerobot.com/api"),
    KeyShape("Courier key", "pk_prod_{c:28}", "courier.com/docs"),
    KeyShape("Courier test key", "pk_test_{c:28}", "courier.com/docs"),
    KeyShape("Polar token", "polar_oat_{a:40+}", "polar.sh/docs"),
    KeyShape("Polar personal token", "polar_pat_{a:40+}", "polar.sh/docs"),
    KeyShape("Klarna key", "klarna_live_api_{b:40+}", "docs.klarna.com"),
    KeyShape("Klarna test key", "klarna_test_api_{b:40+}", "docs.klarna.com"),
    KeyShape("Radar key", "prj_live_sk_{x:40}", "radar.com/documentation"),
    KeyShape("Radar test key", "prj_test_sk_{x:40}", "radar.com/documentation"),
    KeyShape("LinkedIn token", "WPL_AP1.{a:16}.{b:6+}", "learn.microsoft.com/linkedin"),
    KeyShape("Mailgun public key", "pubkey-{x:32}", "documentation.mailgun.com"),
    KeyShape("PostHog secret", "phs_{w:40+}", "posthog.com/docs/api"),
    KeyShape("GrowthBook key", "secret_user_{u:40+}", "docs.growthbook.io"),
    KeyShape("GrowthBook admin key", "secret_admin_{u:40+}", "docs.growthbook.io"),
    KeyShape("Flagsmith key", "ser.{a:22}", "docs.flagsmith.com"),
    KeyShape("RevenueCat key", "atk_{a:30+}", "revenuecat.com/docs"),
    KeyShape("Svix key", "testsk_{p:32+}", "docs.svix.com"),
    KeyShape("Descope key", "K2{a:60+}", "docs.descope.com"),
    KeyShape("Column key", "live_{a:27}", "column.com/docs"),
    KeyShape("Fleetbase key", "flb_live_{a:20}", "docs.fleetbase.io"),
    KeyShape("Reachmail key", f"rh-api-{UUID}", "reachmail.net"),
    KeyShape("Pagarme key", "ak_live_{a:30}", "docs.pagar.me"),
    KeyShape("PubNub subscribe key", f"sub-c-{UUID}", "pubnub.com/docs"),
    KeyShape("PubNub secret key", "sec-c-{b:48}", "pubnub.com/docs"),
    KeyShape("PubNub publish key", f"pub-c-{UUID}", "pubnub.com/docs"),
    KeyShape("Square OAuth id", "sq0idp-{u:22}", "developer.squareup.com/docs"),
    KeyShape("Ramp id", "ramp_id_{a:40}", "docs.ramp.com"),
    KeyShape("Teamwork token", "tkn.v1_{b:60+}", "apidocs.teamwork.com"),
    KeyShape("Sunshine Conversations key", "act_{l:24}", "docs.smooch.io"),
    KeyShape("HubSpot token (Asia)", f"pat-ap1-{UUID}", "developers.hubspot.com"),
    KeyShape("Cashfree secret", "cfsk_ma_prod_{x:32}_{x:8}", "cashfree.com/docs"),
    KeyShape("Cashfree test secret", "cfsk_ma_test_{x:32}_{x:8}", "cashfree.com/docs"),
    KeyShape("Xendit key", "xnd_production_{a:40+}", "docs.xendit.co"),
    KeyShape("Xendit test key", "xnd_development_{a:40+}", "docs.xendit.co"),
    KeyShape("Omise key", "skey_{a:19}", "docs.omise.co"),
    KeyShape("Omise test key", "skey_test_{a:19}", "docs.omise.co"),
    KeyShape("Checkout.com key", "sk_sbox_{l:26}", "checkout.com/docs"),
    KeyShape("Dub key", "dub_{a:24}", "dub.co/docs"),
    KeyShape("Meta verification token", "IGAA{u:100+}", "developers.facebook.com/docs"),
    KeyShape("Threads token", "THAA{u:100+}", "developers.facebook.com/docs"),
    KeyShape("Twitch token", "oauth:{l:30}", "dev.twitch.tv/docs"),
    KeyShape("Weblate token", "wlu_{a:36}", "docs.weblate.org"),
    KeyShape("Weblate project token", "wlp_{a:36}", "docs.weblate.org"),
    KeyShape("Basecamp token", "BAhbB0kiAb{b:60+}", "github.com/basecamp/bc3-api"),
)
