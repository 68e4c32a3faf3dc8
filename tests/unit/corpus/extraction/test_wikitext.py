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
        ("见[[:分类:城市]]和[[: Category:Towns]]。", "见分类:城市和 Category:Towns。"),
        ("-{zh-hans:计算机;zh-hant:電腦}-和-{网络}-", "计算机和网络"),
        ("北京（{{lang|en|Beijing}}，{{pinyin}}）是首都", "北京是首都"),
        ("Achilles ({{IPA}}; [[Greek]]) was", "Achilles (Greek) was"),
        ("[http://example.org the site] and http://bare.org/x", "the site and http://bare.org/x"),
        ("5 &lt; 6 &amp; &#20013;", "5 < 6 & 中"),
        ("open {{ never closed\nrest\n\nNext paragraph.", "open \n\nNext paragraph.".replace(" \n", "\n")),
        ("__TOC__\n* one\n* two", "one\ntwo"),
        ("<ruby>漢字<rp>(</rp><rt>かんじ</rt><rp>)</rp></ruby>だ。", "漢字だ。"),
    ],
)
def test_what_a_reader_sees_stays(source, expected):
    found = plain_text(source, ["文件", "分类"])
    assert [line.strip() for line in found.split("\n")] == expected.split("\n")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "导数<math>{{\\rm d}y \\over {\\rm d}x}</math>的定义。\n\n第一段。\n\n根<math>\\sqrt{x_{1}}</math>完。",
            "导数的定义。\n\n第一段。\n\n根完。",
        ),
        (
            "The <math>a_{i_{j}}</math> are\n\nA paragraph.\n\n<math display=block>{{a}</math> known.",
            "The  are\n\nA paragraph.\n\nknown.",
        ),
        ("在<code>{{</code>和<code>}}</code>之间。", "在{{和}}之间。"),
        ("Call <code>main()</code>, then <code>f({{tl|x}}__FILE__)</code>.", "Call main(), then f(__FILE__)."),
        ("写<nowiki>{{模板}}和'''粗体'''，&lt;</nowiki>即可", "写{{模板}}和'''粗体'''，<即可"),
        ("<pre>\nset = {{1}, ()}\n</pre>\nText }.", "set = {{1}, ()}\n\nText }."),
        ("<code><nowiki>{{x}}</nowiki></code>", "{{x}}"),
        ("<syntaxhighlight lang=c>int a[] = {{0}, {1</syntaxhighlight>正文。", "正文。"),
        ("A<graph>{{{</graph>B<nowiki/>C<math/>D", "ABCD"),
        ("前<!-- {{ -->中{{模板|<nowiki>}}</nowiki>}}后", "前中后"),
    ],
)
def test_braces_within_math_and_code_are_none_of_templates(source, expected):
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("长江{{cite web|url=x|title=|}}是中国最长的河流。", "长江是中国最长的河流。"),
        ("The {{lang|en\n|}} river\n{{Infobox\n| a = {{b|}}\n|}}is long.", "The  river\nis long."),
        ("甲{{{1|}}}乙{{{{{x}}}|y}}丙", "甲乙丙"),
        ("the set {a, {{{b}}}} and {{{c}}, d}", "the set {a, } and {, d}"),
        ("A {{Collapse|\n== H ==\ntext\n}}\nBody.\n\nTwo.", "A\nBody.\n\nTwo."),
        ("甲{{折叠|\n== 题 {{乙}} ==\n文\n}}\n正文。\n\n还有。", "甲\n正文。\n\n还有。"),
        ("{{#if:x|\n==A==\nfoo}}\nBar", "Bar"),
        ("表\n{| class=a\n| {{x|}}\n:{|\n| 内\n|}\n|}\n后", "表\n\n后"),
        ("He wrote {| and |} here.", "He wrote {| and |} here."),
        ("Before.\n{{Begin table|x}}\n! a !! b\n|-\n| c || d\n|-\n| e\n|}\nAfter.", "Before.\n\nAfter."),
        ("前。\n\n后。\n{{表格开始}}\n|-\n| 甲\n* 乙\n\n|-\n| 丙\n|}\n末。", "前。\n\n后。\n\n末。"),
        ("== 题 ==\n正文。\n|-\n| 甲\n|}\n\n|}\n末。", "题\n正文。\n\n末。"),
        ("Text.\n\nMore!\n\n|}\nEnd.", "Text.\n\nMore!\n\nEnd."),
    ],
)
def test_templates_and_tables_end_where_mediawiki_ends_them(source, expected):
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{信息框\n| 名 = {{甲}}\n\n第一段{{乙}}。\n\n第二段。", "第一段。\n\n第二段。"),
        ("{{Box|\n\nOne.\n\n== Head ==\nTwo.\n\nThree.", "One.\n\nHead\nTwo.\n\nThree."),
        ("The end {{cite\n== History ==\nTown...\n\nMore.", "The end\nHistory\nTown...\n\nMore."),
        ("完{{cite\n=== 历史 ===\n小镇{{甲}}。\n\n还有。", "完\n历史\n小镇。\n\n还有。"),
        ("表\n{| class=a\n| x\n== 题 ==\n第一段。\n\nTwo.", "表\n\n题\n第一段。\n\nTwo."),
        ("{| class=a\n| x\n\n| y\n{{end}}\n\n第一段。\n\n== 题 ==\n第二段。\n|}", "第一段。\n\n题\n第二段。"),
        ("One {{a\n\n{{b}} Two.\n\nThree {{c|{{d}} four.\n\nFive.", "One\n\nTwo.\n\nThree\n\nFive."),
        ("甲<math>x\n\n第一段。\n\n乙<math>{y}</math>丙", "甲<math>x\n\n第一段。\n\n乙丙"),
    ],
)
def test_braces_and_tags_without_end_swallow_no_paragraph(source, expected):
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{| class=a\n|\n=== 春 ===\n* 花\n| 乙\n|}\n正文。", "正文。"),
        (
            "A\n{|\n| width=50% |\n== Left ==\n* one\n\nTwo.\n\n=== Down ===\nThree.\n!\n\n== Right ==\nFour.\n|}\nB",
            "A\n\nB",
        ),
        ("前\n{|\n| 引言\n== 甲 ==\n文\n{|\n| 内\n|}\n== 乙 ==\n| 末\n|}\n后", "前\n\n后"),
        ("A\n{|\n| x\n{|\n|\n== In ==\n| y\n|}\n| z\n|}\nB", "A\n\nB"),
        ("{|\n|\n== 甲 ==\n| 乙\n{|\n| x\n{{end}}\n\n== 丙 ==\n| 丁\n|}\n后", "后"),
        ("{|\n| x || y\n{{end}}\n\n== Next ==\nText.\n{{begin}}\n|}\nEnd.", "Next\nText.\n\nEnd."),
    ],
)
def test_a_heading_in_a_cell_ends_no_table(source, expected):
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("-{H|zh-cn:打印;zh-tw:列印}-正文", "正文"),
        ("-{T|zh-hans:计算机;zh-hant:電腦}-\n正文", "正文"),
        ("正-{-|zh-cn:打印;zh-tw:列印}-文", "正文"),
        ("-{ H |zh-cn:打印;\nzh-tw:列印;}-正文-{A;H|x}-", "正文"),
        ("The -{H|zh:a}-text", "The text"),
        ("-{A|zh-cn:打印;zh-tw:列印}-机", "打印机"),
        ("-{R|原样}-和-{zh-hans;zh-hant|网络}-", "原样和网络"),
        ("-{D|zh-cn:甲;zh-tw:乙}-", "甲"),
    ],
)
def test_hidden_conversion_rules_are_no_text(source, expected):
    assert plain_text(source) == expected


@pytest.mark.parametrize(
    "brace", ["[[", "{{", "{{ ", "{|", "{|\n", "}}", "|}\n", "''''", "== ", "{|\n|\n== a ==\n", "\n|\n== a ==\n"]
)
def test_markup_without_end_takes_linear_time(brace):
    plain_text(brace * 20_000)
