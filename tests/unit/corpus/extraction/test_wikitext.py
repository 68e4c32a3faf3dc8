import pytest

from lm_pipeline.corpus.extraction.wikitext import plain_text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("'''Bold''' and ''it'' [[Target page|words]] of [[link]]s.", "Bold and it words of links."),
        ("A{{template|with {{another}} in}} B<ref name=x>note</ref><ref name=x/> C<!-- hidden -->", "A B C"),
        ("== History ==\nText.", "History\nText."),
        ("x\n{| class=a\n|-\n| cell {{b}}\n|}\ny", "x\n\ny"),
        ("[[File:a.jpg|thumb|A caption with a [[link]]]]Text [[Category:X]]", "Text"),
        ("[[文件:a.jpg|缩略图|说明]]正文[[分类:城市]]。", "正文。"),
        ("-{zh-hans:计算机;zh-hant:電腦}-和-{网络}-", "计算机和网络"),
        ("北京（{{lang|en|Beijing}}，{{pinyin}}）是首都", "北京是首都"),
        ("Achilles ({{IPA}}; [[Greek]]) was", "Achilles (Greek) was"),
        ("[http://example.org the site] and http://bare.org/x", "the site and http://bare.org/x"),
        ("5 &lt; 6 &amp; &#20013;", "5 < 6 & 中"),
        ("open {{ never closed\nrest\n\nNext paragraph.", "open \n\nNext paragraph.".replace(" \n", "\n")),
        ("__TOC__\n* one\n* two", "one\ntwo"),
    ],
)
def test_what_a_reader_sees_stays(source, expected):
    found = plain_text(source, ["文件", "分类"])
    assert [line.strip() for line in found.split("\n")] == expected.split("\n")


@pytest.mark.parametrize("brace", ["[[", "{{", "{|", "}}", "''''", "== "])
def test_markup_without_end_takes_linear_time(brace):
    plain_text(brace * 20_000)
