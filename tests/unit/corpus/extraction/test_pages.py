import gzip
import importlib.util
import json
import re
import tarfile
from collections import Counter
from statistics import mean

import pytest
from resiliparse.extract.html2text import extract_plain_text

from lm_pipeline.corpus.extraction.pages import extract_page

SENTENCE = "This is a sentence of the article, and it is long enough to be running text for everybody. "
SATZ = "这是文章里的一句话，它足够长，任何人都看得出来这是正文，而不是菜单、广告或者别的什么东西。"


def page(body: str, head: str = "<title>A headline of news | The Site</title>") -> str:
    return f"<html lang=en><head>{head}</head><body><main><div><div>{body}</div></div></main></body></html>"


@pytest.mark.parametrize("sentence", [SENTENCE, SATZ])
def test_the_headline_is_the_title_and_what_stands_around_the_text_goes(sentence):
    paragraph = f"<p>{sentence * 3}</p>"
    html = page(
        "<p>This website uses cookies to be better.</p><h1>A headline of news</h1><div>By Someone</div>"
        f"<div>Nov 19, 2019</div>{paragraph}<p>Advertisement</p><figure><figcaption>A caption.</figcaption></figure>"
        f"{paragraph}<p><a href=/x>Another article</a></p><p>Subscribe to our newsletter now.</p>"
        "<h3>About the author</h3><p>Someone writes a lot.</p>"
    )
    found = extract_page(html)
    assert found.title == "A headline of news"
    assert found.text.split("\n\n") == [(sentence * 3).strip()] * 2


def test_a_short_page_keeps_all_it_has():
    assert extract_page("<p>Hello</p>").text == "Hello"
    assert extract_page("<h1>你好</h1>").text == "你好"
    assert extract_page("").text == ""


def test_lists_links_code_and_tables_of_a_document_stay():
    html = page(
        f"<h1>Manual</h1><p>{SENTENCE}</p><ul><li>first item</li><li>second <a href=x>item</a></li></ul>"
        f"<pre>if x:\n    pass</pre><p>See <a class=tag rel=tag href=x>this word</a> in {SENTENCE}</p>"
        "<table><tr><td>cell one</td><td>cell two</td></tr></table><p>Done at last.</p>"
    )
    text = extract_page(html).text
    assert "- first item\n- second item" in text
    assert "if x:\n    pass" in text
    assert "See this word in This" in text
    assert "cell one" in text


@pytest.mark.parametrize(("sentence", "cells"), [(SENTENCE, ("Year", "People")), (SATZ, ("年份", "人口"))])
def test_a_table_at_either_end_is_text_and_a_single_row_is_none(sentence, cells):
    row = f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"
    table, bar = f"<table>{row}<tr><td>1990</td><td>3,000</td></tr></table>", f"<table>{row}</table>"
    lines = [list(cells), ["1990", "3,000"]]
    first = extract_page(page(f"<h1>A headline of news</h1>{table}<p>{sentence * 3}</p><p>{sentence}</p>{bar}"))
    assert [line.split() for line in first.text.splitlines()[:2]] == lines
    last = extract_page(page(f"<h1>A headline of news</h1>{bar}<p>{sentence * 3}</p>{table}<div>{cells[0]}</div>"))
    assert [line.split() for line in last.text.splitlines()[-2:]] == lines
    for found in (first, last):
        assert found.text.count(cells[0]) == 1


@pytest.mark.parametrize(
    ("sentence", "labels"), [(SENTENCE, "Previous Next Home Contact"), (SATZ, "上页 下页 首页 联系")]
)
def test_rows_of_links_are_buttons_and_no_table(sentence, labels):
    cells = [f"<td><a href=x>{label}</a></td>" for label in labels.split()]
    table = f"<table><tr>{cells[0]}{cells[1]}</tr><tr>{cells[2]}{cells[3]}</tr></table>"
    found = extract_page(page(f"<h1>A headline of news</h1>{table}<p>{sentence * 3}</p><p>{sentence}</p>{table}"))
    assert not [label for label in labels.split() if label in found.text]


def test_a_list_near_the_root_of_a_plain_page_is_text():
    html = f"<body><p>{SENTENCE}</p><ul><li>one thing</li><li>another thing</li></ul><p>{SENTENCE}</p></body>"
    assert "another thing" not in extract_plain_text(html, main_content=True)
    assert "another thing" in extract_page(html).text


@pytest.mark.parametrize("frame", ["{}", "<div>{}</div>", "<div><div>{}</div></div>"])
@pytest.mark.parametrize(
    ("one", "two"),
    [
        (SENTENCE.strip(), SENTENCE.strip(" .")),
        (SATZ, "第二句也是正文，不过短一些，而且不是菜单。"),
        (
            f"これは記事の文です。{'長い文なので、メニューではありません。' * 2}",
            "短い文ですが、これも記事の本文の一部です。",
        ),
        (f"이것은 기사의 문장입니다. {'길어서 메뉴가 아닙니다. ' * 4}".strip(), "짧지만 이것도 본문의 한 부분입니다."),
    ],
)
def test_a_list_of_long_items_is_text_whatever_comes_before_it(frame, one, two):
    html = f"<body>{frame.format(f'<h2>Summary</h2><ul><li>{one}</li><li>{two}</li></ul>')}</body>"
    assert extract_page(html).text.replace("\n\n", "\n") == f"Summary\n- {one}\n- {two}"


@pytest.mark.parametrize(
    "frame", ["<main>{}</main>", "<main><article>{}</article></main>", "<main><div>{}</div></main>"]
)
@pytest.mark.parametrize("items", [("2 eggs", "flour"), ("鸡蛋两个", "面粉")])
def test_a_list_of_the_main_part_is_text(frame, items):
    one, two = items
    html = f"<body>{frame.format(f'<h2>Summary</h2><ul><li>{one}</li><li>{two}</li></ul><p>{SENTENCE}</p>')}</body>"
    assert f"- {one}\n- {two}" in extract_page(html).text


@pytest.mark.parametrize(
    "items", [("Home", "About us", "Contact"), ("首页", "关于我们", "联系方式"), ("Version 1.0", "版本 2.0", "v. 3")]
)
def test_a_menu_near_the_root_goes(items):
    menu = "".join(f"<li>{item}</li>" for item in items)
    linked = "".join(f"<li><a href=/x>{item}: {SENTENCE}</a></li>" for item in items)
    html = f"<body><ul>{menu}</ul><ul>{linked}</ul><div><p>{SATZ * 2}</p></div><ul>{menu}</ul></body>"
    assert extract_page(html).text == SATZ * 2


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("公共场所<b>不</b>得吸烟", "公共场所不得吸烟"),
        ("如何<em> 学 </em>习<em>中</em>文", "如何 学 习中文"),
        (
            "<a href=/x>红楼梦</a>、<a href=/y>西游记</a>，见《<a href=/z>水浒传</a>》等",
            "红楼梦、西游记，见《水浒传》等",
        ),
        ("<b>&#20859;</b>生", "养生"),
        ("<ruby>東<rt>とう</rt>京<rt>きょう</rt></ruby>に", "東京に"),
        ("犬<b>が</b>いる", "犬がいる"),
        ("나는 <b>그</b> 사람을 <i>못</i> 보았습니다", "나는 그 사람을 못 보았습니다"),
        ("Il est <i>là</i>, <b>o&ugrave;</b> donc?", "Il est là, où donc?"),
        ("<b>a</b>&mdash;<b>b</b>, at <b>25</b>\n℃\n<i>now</i>", "a—b, at 25 ℃ now"),
        ("the <b>first</b>.&nbsp;<i>Second</i>", "the first. Second"),
    ],
)
def test_an_element_of_one_character_is_text(markup, text):
    html = page(f"<p>{SENTENCE}</p><p>{markup}</p><p>{SENTENCE}</p>")
    assert extract_page(html).text.replace("\xa0", " ").split("\n\n") == [SENTENCE.strip(), text, SENTENCE.strip()]


@pytest.mark.parametrize("cells", [("甲", "乙"), ("ア", "ー"), ("가", "나"), ("7", "é")])
def test_cells_and_paragraphs_of_one_character_stay(cells):
    one, two = cells
    table = f"<table><tr><td>{one}<td>{two}</table>"
    html = page(f"<p>{SENTENCE}</p>{table}<p>{SENTENCE}</p><p>{two}</p><p>{one}").removesuffix(
        "</div></div></main></body></html>"
    )
    assert extract_page(html).text.split() == [*SENTENCE.split(), one, two, *SENTENCE.split(), two, one]


def test_icons_and_anchors_of_one_character_go():
    html = page(
        f"<p>{SENTENCE}<i>\ue600</i><i>&#xe601;</i><a href=#x>¶</a><a href=#y>&para;</a>&#12288;<b>\u200b</b></p>"
    )
    assert extract_page(html).text == SENTENCE.strip()


def test_a_title_of_one_character_is_as_it_is():
    assert extract_page(page(f"<p>{SATZ}</p>", "<title>\n道</title>")).title == "道"
    assert extract_page(page(f"<h1>道</h1><p>{SATZ}</p>", "")).title == "道"


def test_metadata_is_what_the_page_says():
    head = (
        "<title>Site</title><meta property='og:title' content='北京的天气'>"
        "<link rel=canonical href='https://example.org/天气'>"
        "<meta property='article:published_time' content='2024-05-01T08:00:00+08:00'>"
    )
    found = extract_page(page(f"<p>{SATZ}</p>", head))
    assert (found.title, found.url, found.date) == (
        "北京的天气",
        "https://example.org/天气",
        "2024-05-01T08:00:00+08:00",
    )
    json_ld = '<script type="application/ld+json">{"datePublished": "2020-02-03"}</script>'
    assert extract_page(page(f"<p>{SATZ}</p>", json_ld)).date == "2020-02-03"
    relative = extract_page(page("x", "<link rel=canonical href='/x'><meta name=date content='yesterday'>"))
    assert (relative.url, relative.date) == (None, None)


@pytest.mark.parametrize("extractor", ["resiliparse", "none"])
@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rp>(</rp><rt>じ</rt><rp>)</rp></ruby>を", "漢字を"),
        ("<ruby><rb>東京</rb><rp>（</rp><rt>とうきょう</rt><rp>）</rp></ruby>に", "東京に"),
        ("<ruby>汉<rt>hàn<rt>ㄏㄢˋ</ruby>语", "汉语"),
        ("<ruby><rb>上<rb>海<rtc><rt>shàng<rt>hǎi</rtc></ruby>人", "上海人"),
        ("<ruby>Shanghai<rt>上海</rt></ruby> is", "Shanghai is"),
    ],
)
def test_readings_beside_the_text_are_none_of_it(markup, text, extractor):
    found = extract_page(page(f"<p>{SATZ}{markup}{SATZ}</p>"), extractor)
    assert found.text == f"{SATZ}{text}{SATZ}"


def test_without_an_extractor_all_visible_text_stays():
    html = page("<nav>Menu</nav><p>Text</p><script>no()</script>")
    assert extract_page(html, "none").text.split() == ["Menu", "Text"]


@pytest.mark.skipif(importlib.util.find_spec("trafilatura") is None, reason="the extra is not installed")
def test_trafilatura_is_an_option():
    html = page("<nav>Menu</nav>" + f"<p>{SENTENCE * 3}</p>" * 3)
    text = extract_page(html, "trafilatura").text
    assert SENTENCE.strip() in text
    assert "Menu" not in text


def shingles(text: str) -> Counter:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + 4]) for i in range(max(1, len(words) - 3)) if words)


def test_the_article_benchmark_is_met(shared_data):
    """By its own definition: precision and recall of 4-grams of words, a mean over the pages; F1 of the two."""
    folder = shared_data / "large/html-article-benchmark"
    truth = json.loads((folder / "ground-truth.json").read_text("utf-8"))
    precisions, recalls = [], []
    for path in sorted((folder / "html").glob("*.html.gz")):
        true = shingles(truth[path.name.removesuffix(".html.gz")]["articleBody"])
        found = shingles(extract_page(gzip.decompress(path.read_bytes()).decode()).text)
        common = (true & found).total()
        precisions.append(common / max(1, found.total()))
        recalls.append(common / max(1, true.total()))
    precision, recall = mean(precisions), mean(recalls)
    assert len(precisions) == 91
    assert 2 * precision * recall / (precision + recall) > 0.965
    assert min(precision, recall) > 0.95


@pytest.mark.parametrize("language", ["en-US", "zh-CN"])
def test_documentation_loses_no_paragraph(shared_data, language):
    lost = total = 0
    with tarfile.open(shared_data / "large/debian-html/handbook-en-zh.tar.xz") as archive:
        for member in archive:
            if member.isfile() and f"{language}/sect." in member.name and member.name.endswith(".html"):
                stream = archive.extractfile(member)
                assert stream is not None
                html = stream.read().decode()
                text = "".join(extract_page(html).text.split())
                for paragraph in re.findall(r"<div class=\"para\">([^<]{80,})</div>", html):
                    total += 1
                    lost += "".join(paragraph.split()) not in text and "&" not in paragraph
    assert total > 100
    assert lost <= 0.02 * total
