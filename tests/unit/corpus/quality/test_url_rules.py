import polars as pl
import pytest

from lm_pipeline.corpus.quality.url_rules import COLUMNS, measure_urls
from lm_pipeline.specs.cleaning import UrlRules

RULES = UrlRules(
    blocked_domains=("bad.example", "*.spam.co.uk", "赌场.中国", "2001:db8::1"), blocked_words=("casino", "赌博")
)


def measure(url):
    return measure_urls(pl.Series([url], dtype=pl.String), RULES).row(0, named=True)


@pytest.mark.parametrize(
    ("url", "blocked"),
    [
        ("https://bad.example/", True),
        ("http://www.BAD.example:8080/a", True),
        ("https://user:pw@bad.example/", True),
        ("//bad.example/x", True),
        ("https://bad.example./", True),
        ("https://notbad.example/", False),
        ("https://bad.example.org/", False),
        ("https://good.org/?u=https://bad.example/", False),
        ("https://spam.co.uk/", True),
        ("https://co.uk/", False),
        ("https://www.赌场.中国/首页", True),
        ("https://www.xn--k1w96q.xn--fiqs8s/", False),
        ("https://[2001:db8::1]/", True),
        ("https://[2001:db8::2]/", False),
        ("no address", False),
    ],
)
def test_a_domain_is_blocked_with_its_subdomains(url, blocked):
    assert measure(url)["blocked_domain"] is blocked


def test_an_international_domain_is_the_same_in_both_of_its_forms():
    assert measure(f"https://{'赌场.中国'.encode('idna').decode()}/")["blocked_domain"] is True


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("https://a.org/best-casino/Casino?x=casino", 3),
        ("https://casino.a.org/", 1),
        ("https://a.org/casinos", 0),
        ("https://a.org/赌博", 1),
        ("https://a.org/在线赌博网/", 1),
        ("https://a.org/%E8%B5%8C%E5%8D%9A/", 1),
        ("https://a.org/%63asino", 1),
        ("https://a.org/freecasino", 0),
    ],
)
def test_words_of_an_address_are_counted_whole(url, words):
    assert measure(url)["num_blocked_url_words"] == words


@pytest.mark.parametrize("word", ["free-casino", "free_casino", "Free Casino ", "在线-赌博", "在线%2D赌博"])
def test_a_word_may_be_written_with_any_signs(word):
    url = "https://a.org/free-Casino/%E5%9C%A8%E7%BA%BF_赌博/"
    assert measure_urls(pl.Series([url]), UrlRules(blocked_words=(word,)))["num_blocked_url_words"].to_list() == [1]


def test_a_document_without_an_address_has_no_measurements():
    assert measure(None) == dict.fromkeys(COLUMNS)
    assert measure("https://a.org/é")["url_characters"] == 15
