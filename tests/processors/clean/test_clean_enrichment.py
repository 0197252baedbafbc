"""Enrichment: channel, device, browser, bot, country, and what is cut or never carried on."""

import tomllib
from typing import Any

import pytest
from event_examples import CONTEXT, ENRICHMENT, NOON, accepted, example, item, to_bytes

from processors.clean.channels import RULES_FILE, Channels, host_of, read_channels
from processors.clean.facts import UTM_CHARACTERS, Fact, Lateness, to_fact
from processors.clean.user_agents import (
    CACHED_USER_AGENTS,
    USER_AGENT_CHARACTERS,
    parse_user_agent,
)
from streams.facts import encode_fact
from streams.topics import CLEAN_EVENTS, CLEAN_LOGS, CLEAN_PRODUCTS

CHANNELS = read_channels(own_hosts=("shop.example",))
TABLE = tomllib.loads(RULES_FILE.read_text())


def fact_of(event: dict[str, Any]) -> tuple[str, str, Any]:
    on_time = Lateness(is_late=False, seconds=None)
    return to_fact(accepted(event), arrived_at=NOON, late=on_time, enrichment=ENRICHMENT)


def context_of(**fields: Any) -> Any:
    return fact_of(example("page_viewed", context=fields))[2]


def channel(
    source: str | None = None, medium: str | None = None, referrer: str | None = None, page: str | None = None
) -> str:
    return CHANNELS.channel_of(source, medium, host_of(referrer), host_of(page))


# channels: every line of the rule file


@pytest.mark.parametrize(
    ("medium", "source", "expected"),
    [
        (medium, source, rule["channel"])
        for rule in TABLE["rule"]
        for medium in rule.get("medium", ())
        for source in rule.get("source", ["somebody"])
    ],
)
def test_each_medium_and_source_of_the_rule_file_gives_its_channel(
    medium: str, source: str, expected: str
) -> None:
    assert channel(source, medium) == expected
    assert channel(f" {source.upper()} ", f"\t{medium.title()}\n") == expected


@pytest.mark.parametrize(
    ("kind", "host"), [(kind, host) for kind, hosts in TABLE["referrers"].items() for host in hosts]
)
def test_each_referrer_of_the_rule_file_gives_its_channel_for_hosts_below_it_too(
    kind: str, host: str
) -> None:
    expected = {"search": "organic_search", "social": "organic_social", "email": "email"}[kind]
    for name in (host.replace("*", "com"), host.replace("*", "co.uk")):
        assert channel(referrer=f"https://{name}/path") == expected
        assert channel(referrer=f"http://a.b.{name}") == expected


def test_every_channel_of_the_contract_can_come_and_no_other() -> None:
    channels = {rule["channel"] for rule in TABLE["rule"]} | {"direct"}
    assert channels == {
        "paid_search",
        "organic_search",
        "paid_social",
        "organic_social",
        "email",
        "affiliate",
        "display",
        "referral",
        "direct",
        "other",
    }


@pytest.mark.parametrize(
    ("source", "medium", "referrer", "expected"),
    [
        # utm fields go before the referrer
        ("google", "cpc", "https://facebook.com/", "paid_search"),
        ("newsletter", "email", "https://mail.google.com/", "email"),
        ("x", "something", "https://www.google.com/", "other"),
        # the first rule that fits: a paid click of a social network is social
        ("facebook", "cpc", None, "paid_social"),
        ("bing", "cpc", None, "paid_search"),
        (None, "cpc", None, "paid_search"),
        # a source alone is a utm field that no rule knows
        ("google", None, None, "other"),
        ("", "", "https://www.google.com/", "organic_search"),
        # without utm fields the referrer decides, the longest name first
        (None, None, "https://mail.google.com/mail", "email"),
        (None, None, "https://www.google.co.uk/search?q=x", "organic_search"),
        (None, None, "https://notgoogle.com/", "referral"),
        (None, None, "https://google.com.evil.example/", "organic_search"),  # name.* means any ending
        (None, None, "https://evil-facebook.com/", "referral"),
        (None, None, "android-app://com.google.android.gm/", "organic_search"),
        (None, None, "https://blog.example.org/post", "referral"),
        # the shop itself is no referrer
        (None, None, "https://shop.example/cart", "direct"),
        (None, None, "https://www.shop.example:8443/cart", "direct"),
        (None, None, "https://workshop.example/", "referral"),
        # what is no URL
        (None, None, "", "direct"),
        (None, None, "not a url at all", "referral"),
        (None, None, "http://[broken", "direct"),
        (None, None, "about:blank", "referral"),
        (None, None, None, "direct"),
    ],
)
def test_the_channel_comes_from_utm_then_from_the_referrer(
    source: str | None, medium: str | None, referrer: str | None, expected: str
) -> None:
    assert channel(source, medium, referrer) == expected


def test_the_page_s_own_host_is_no_referrer() -> None:
    assert channel(referrer="https://other.example/a", page="https://other.example/b") == "direct"
    assert channel(referrer="https://other.example/a", page="https://third.example/b") == "referral"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://shop.example/p?q#f", "shop.example"),
        ("https://shop.example", "shop.example"),
        ("HTTPS://Shop.Example/", "shop.example"),
        ("https://user:secret@shop.example:8443/", "shop.example"),
        ("//shop.example/x", "shop.example"),
        ("shop.example/x", "shop.example"),
        ("https://bücher.example/", "bücher.example"),
        ("https://[::1]/", "::1"),
        ("https://", None),
        ("http://[broken", None),
        ("", None),
        (None, None),
    ],
)
def test_the_host_of_a_url(url: str | None, host: str | None) -> None:
    assert host_of(url) == host


def test_what_a_visit_leaves_in_the_cache_is_bounded() -> None:
    channels = Channels(TABLE)
    for number in range(10_100):
        channels.channel_of(f"s{number}", None, None, None)
    assert channels._cached.cache_info().currsize == 10_000
    assert len(host_of("https://" + "a" * 10_000) or "") == 253


# user agents

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0.0.0 Safari/537.36"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0"
MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Safari/605.1.15"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) {SAFARI} Mobile/15E148 Safari/604.1"
ANDROID = f"Mozilla/5.0 (Linux; Android 13; SM-S911B) {WEBKIT} Chrome/120.0.0.0 Mobile Safari/537.36"
TIZEN = f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {WEBKIT} SamsungBrowser/4.0 Chrome/76 TV Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "device", "browser"),
    [
        (CHROME, "desktop", "Chrome"),
        (MAC, "desktop", "Safari"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0", "desktop", "Firefox"),
        (CHROME.replace("Windows NT 10.0; Win64; x64", "X11; CrOS x86_64 14541.0.0"), "desktop", "Chrome"),
        (CHROME + " Edg/120.0.0.0", "desktop", "Edge"),
        (IPHONE, "mobile", "Mobile Safari"),
        (ANDROID, "mobile", "Chrome Mobile"),
        (ANDROID.replace("13; SM-S911B", "10; K"), "mobile", "Chrome Mobile"),  # as reduced by Chrome
        (
            ANDROID.replace("13; SM-S911B", "9; CUBOT_X18"),
            "mobile",
            "Chrome Mobile",
        ),
        (IPHONE.replace("iPhone; CPU iPhone OS", "iPad; CPU OS"), "tablet", "Mobile Safari"),
        (ANDROID.replace("SM-S911B", "SM-X700").replace("Mobile ", ""), "tablet", "Chrome"),
        (ANDROID.replace("13; SM-S911B", "10; K").replace("Mobile ", ""), "tablet", "Chrome"),
        (
            f"Mozilla/5.0 (Linux; Android 9; KFMAWI) {WEBKIT} Silk/120 like Chrome/120 Safari/537.36",
            "tablet",
            None,
        ),
        (
            ANDROID.replace("13; SM-S911B", "12; BRAVIA 4K VH2").replace("Mobile ", ""),
            "other",
            "Chrome",
        ),
        (
            TIZEN,
            "other",
            "Samsung Internet",
        ),
        ("Mozilla/5.0 (PlayStation 5) AppleWebKit", "other", None),
        ("", "other", None),
        ("\x01😀", "other", None),
    ],
)
def test_the_device_and_browser_come_from_the_user_agent(
    user_agent: str, device: str, browser: str | None
) -> None:
    agent = parse_user_agent(user_agent)
    assert (agent.device, agent.is_bot) == (device, False)
    assert browser is None or agent.browser == browser


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        "Mozilla/5.0 (compatible; ClaudeBot/1.0; +claudebot@anthropic.com)",
        "Mozilla/5.0 (compatible; PerplexityBot/1.0; +https://perplexity.ai/perplexitybot)",
        "meta-externalagent/1.1 (+https://developers.facebook.com/docs/sharing/webmasters/crawler)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0 Safari/537.36",
        CHROME + " Chrome-Lighthouse",
        "Scrapy/2.11 (+https://scrapy.org)",
        "curl/8.5.0",
        "Wget/1.21",
        "python-requests/2.32.3",
        "Go-http-client/1.1",
        "axios/1.6.2",
        "Java/17.0.1",
    ],
)
def test_what_is_no_person_is_a_bot(user_agent: str) -> None:
    agent = parse_user_agent(user_agent)
    assert (agent.device, agent.is_bot) == ("bot", True)


def test_the_cache_of_user_agents_is_bounded_in_entries_and_characters() -> None:
    assert parse_user_agent.cache_parameters()["maxsize"] == CACHED_USER_AGENTS
    before = parse_user_agent.cache_info().misses
    for end in ("a", "b"):
        context_of(user_agent="x" * USER_AGENT_CHARACTERS + end)
    assert parse_user_agent.cache_info().misses <= before + 1


# what is carried on, and how much of it


def test_context_is_cut_at_its_lengths_and_country_is_in_upper_case() -> None:
    fact = context_of(
        page_url="https://shop.example/" + "é" * 5000,
        referrer="https://r.example/" + "x" * 5000,
        utm_campaign="c" * 5000,
        utm_source="s" * 5000,
        country="de",
    )
    assert (len(fact.page_url), len(fact.referrer), len(fact.campaign)) == (2048, 2048, UTM_CHARACTERS)
    assert (fact.country, fact.channel, fact.has_context) == ("DE", "other", True)


def test_without_context_there_is_no_channel_and_with_an_empty_one_a_visit_is_direct() -> None:
    without = fact_of(example("page_viewed"))[2]
    assert (without.has_context, without.channel, without.device) == (False, None, None)
    empty = context_of()
    assert (empty.has_context, empty.channel, empty.device, empty.is_bot) == (True, "direct", None, False)


def test_neither_the_address_nor_the_user_agent_leaves_bronze() -> None:
    fact: Fact = fact_of(example("purchase", context=CONTEXT))[2]
    encoded = encode_fact(fact)
    assert b"203.0.113.7" not in encoded
    assert b"Gecko" not in encoded
    assert (fact.device, fact.browser, fact.channel) == ("desktop", "Firefox", "organic_search")  # type: ignore[union-attr]  # a purchase is a visitor's


def test_the_profile_holds_the_fields_that_were_present() -> None:
    event = example("profile_updated", marketing_opt_in=...)
    assert fact_of(event)[2].profile == {"name": "Ada", "email": None}
    assert fact_of(example("logout"))[2].profile == {}


def test_a_profiles_country_is_in_upper_case_as_a_contexts_is() -> None:
    lower, upper = (fact_of(example("profile_updated", country=country))[2] for country in ("de", "DE"))
    assert lower.profile["country"] == upper.profile["country"] == "DE"
    assert fact_of(example("profile_updated", country=None))[2].profile["country"] is None
    # What was sent is told apart all the same.
    assert lower.content_hash != upper.content_hash


@pytest.mark.parametrize(
    ("event", "topic", "key"),
    [
        (example("page_viewed", customer_id=..., anonymous_id="a-1"), CLEAN_EVENTS, "a-1"),
        (example("page_viewed", anonymous_id="a-1"), CLEAN_EVENTS, "c-1"),
        (example("signup"), CLEAN_EVENTS, "c-1"),
        (example("purchase"), CLEAN_EVENTS, "c-1"),
        (example("product_listed", customer_id="c-1"), CLEAN_PRODUCTS, "p-1"),
        (example("product_delisted"), CLEAN_PRODUCTS, "p-1"),
        (example("log"), CLEAN_LOGS, "web"),
    ],
)
def test_a_fact_goes_to_the_topic_and_key_of_what_it_is_about(
    event: dict[str, Any], topic: str, key: str
) -> None:
    assert fact_of(event)[:2] == (topic, key)


@pytest.mark.parametrize(
    ("event_type", "fields"),
    [
        ("product_viewed", {"product_id": "p-1"}),
        ("product_searched", {"query": "red shoes"}),
        ("cart_added", {"product_id": "p-1", "quantity": 2}),
        ("cart_removed", {"product_id": "p-1", "quantity": 1}),
        ("product_reviewed", {"product_id": "p-1", "rating": 4}),
        ("purchase", {"order_id": "o-1", "payment_method": "card", "coupon": "SPRING"}),
        ("refund", {"order_id": "o-1", "currency": "EUR"}),
        ("subscription_cancelled", {"subscription_id": "s-1", "plan": "basic"}),
        ("product_listed", {"name": "Shoe", "category": "shoes", "stock": 7}),
        ("log", {"service": "web", "level": "info", "message": "ok", "latency_ms": 12.5, "status_code": 200}),
    ],
)
def test_a_fact_has_the_fields_of_its_event(event_type: str, fields: dict[str, Any]) -> None:
    fact = fact_of(example(event_type))[2]
    assert {name: getattr(fact, name) for name in fields} == fields


def test_long_texts_that_are_no_context_are_kept_whole() -> None:
    event = example("purchase", coupon="c" * 500_000, items=[item(category="k" * 300_000)])
    fact = fact_of(event)[2]
    assert (len(fact.coupon), len(fact.category)) == (500_000, 300_000)
    assert len(encode_fact(fact)) < len(to_bytes(event)) + 400_000
