import bz2

import pytest

from lm_pipeline.corpus.readers.records import Record
from lm_pipeline.specs.corpus import MediawikiFormat


def dump(*pages: str, head: str = "") -> bytes:
    site = (
        "<siteinfo><base>https://zh.wikipedia.org/wiki/Wikipedia:首页</base><namespaces><namespace key='0' />"
        "<namespace key='6'>文件</namespace><namespace key='14'>分类</namespace></namespaces></siteinfo>"
    )
    return f"{head}<mediawiki xmlns='x' version='0.10'>{site}{''.join(pages)}</mediawiki>".encode()


def page(title: str, text: str, ns: int = 0, more: str = "", model: str = "wikitext") -> str:
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>1</id>{more}<revision><id>2</id>"
        f"<timestamp>2024-01-02T03:04:05Z</timestamp><model>{model}</model><text>{text}</text></revision></page>"
    )


CHINESE = page("北京 市", "'''北京'''是[[中国]]的首都。[[文件:a.jpg|说明]][[分类:城市]]&amp;")
ENGLISH = page("Beijing", "Beijing is the [[capital|capital city]] of China.{{Infobox}}")


def texts(records) -> list[str]:
    return [item.text if isinstance(item, Record) else item.reason for item in records]


@pytest.mark.parametrize("name", ["dump.xml", "dump.xml.bz2", "dump"])
def test_pages_become_plain_text_with_title_address_and_date(reading, name):
    data = dump(CHINESE, ENGLISH)
    half = len(data) // 2
    packed = bz2.compress(data[:half]) + bz2.compress(data[half:]) if name.endswith("bz2") else data
    chinese, english = reading(name, packed)
    assert chinese.text == "北京是中国的首都。&"
    assert english.text == "Beijing is the capital city of China."
    assert (chinese.title, chinese.url) == ("北京 市", "https://zh.wikipedia.org/wiki/北京_市")
    assert english.date == "2024-01-02T03:04:05Z"
    where = slice(english.byte_offset, english.byte_offset + english.byte_length)
    assert data[where].decode() == ENGLISH


def test_redirects_and_other_namespaces_are_counted(reading):
    data = dump(
        page("A", "x", more="<redirect title='B' />"), page("讨论:B", "talk", 1), page("M", "{}", model="json"), ENGLISH
    )
    records = reading("a", data)
    assert [item.record for item in records] == [3, None]
    assert records[1].reason == "skipped"
    assert records[1].detail.endswith("1 of model json, 1 of namespace 1, 1 redirect")
    assert texts(reading("a", data, MediawikiFormat(namespaces=(1,)))) == ["talk", "skipped"]


def test_the_last_revision_counts(reading):
    both = page("A", "old").replace("</page>", "<revision><text>new</text></revision></page>")
    assert texts(reading("a", dump(both))) == ["new"]


def test_broken_xml_costs_the_rest_and_says_where(reading):
    good, bad = reading("a", dump(ENGLISH, "<page><title>x</wrong>", CHINESE))
    assert isinstance(good, Record)
    assert (bad.reason, bad.record) == ("invalid_xml", 1)
    good, bad = reading("a", dump(ENGLISH, CHINESE)[:-60])
    assert bad.reason == "invalid_xml"


def test_entities_are_refused(reading):
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    (bad,) = reading("a.xml", dump(ENGLISH, head=bomb), MediawikiFormat())
    assert (bad.reason, bad.record) == ("invalid_xml", 0)
    assert "'a'" in bad.detail


def test_a_page_over_the_limit_costs_itself(reading):
    records = reading("a", dump(page("long", "长" * 1000), ENGLISH), max_line_bytes=1024)
    assert [getattr(item, "reason", "read") for item in records] == ["too_long", "read"]


def test_a_real_dump_is_read(reading, shared_data):
    (path,) = (shared_data / "large/gensim-corpora").glob("*shortened.bz2")
    records = reading(path.name, path.read_bytes())
    articles = [item for item in records if isinstance(item, Record)]
    assert len(articles) == 106
    assert {item.reason for item in records if not isinstance(item, Record)} == {"skipped"}
    assert not any(mark in item.text for item in articles for mark in ("{{", "}}", "[[", "<ref", "<math", "thumb|"))
    (ascii_article,) = [item for item in articles if "}" in item.text]
    assert "{ a[i] = '\\n'; }" in ascii_article.text
    assert "and is therefore omitted from this chart" in ascii_article.text
    assert articles[0].title == "Anarchism"
    assert articles[0].text.startswith("Anarchism is a political philosophy")
