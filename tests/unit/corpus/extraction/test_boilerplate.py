import pytest

from lm_pipeline.corpus.extraction.blocks import Block
from lm_pipeline.corpus.extraction.boilerplate import without_boilerplate

ENGLISH = "The river has flowed past the small town for a long time, and people walk along it to work every day. "
CHINESE = "这条河流过小镇已经有很多年了，人们每天沿着河边走去上班，孩子们在水里玩耍，老人坐在树下说话。"


def block(text: str, kind="paragraph") -> Block:
    return Block(kind, 2 if kind == "heading" else 0, text, 0, gap=True)


def kept_between(middle: Block) -> bool:
    """Whether a block stays that stands in the text, in its last two fifths."""
    prose = [block(text) for text in (ENGLISH * 3, CHINESE * 3)]
    last = [block(ENGLISH), block(CHINESE)]
    texts, _, _ = without_boilerplate([*prose, middle, *last], [])
    assert [each for each in texts if each is not middle] == [*prose, *last]
    return middle in texts


@pytest.mark.parametrize("kind", ["heading", "paragraph", "item", "line"])
@pytest.mark.parametrize(
    "text",
    [
        "印刷术的起源",
        "打印机不工作怎么办",
        "分享经济的未来",
        "推荐算法的原理",
        "相关性分析",
        "热门话题：人工智能",
        "Section 2. Powers of the regulator",
        "Sections of a cone",
        "Related Work",
        "Related rates in calculus",
        "Topics in number theory",
        "Comments on the theorem",
        "Categories and functors",
        "Share prices fell again",
        "Save on a floppy disk",
        "Print to a file",
        "Tags in HTML",
        "Read all lines of a file",
        "More on vectors",
        "About quadratic forms",
        "About Brigit Katz",
        "Recommended settings",
        "Subscribe to a topic",
        "二维码支付",
        "Share this: a story of hope",
        "Share on a blog post",
        "Print close to the margin",
        "Comments are closed with */",
        "Topics of the lecture: vectors",
        "More: A Life",
        "分享到底有多重要",
        "打印与关闭",
        "关闭评论的方法",
    ],
)
def test_headings_and_short_lines_of_a_text_stay(text, kind):
    assert kept_between(block(text, kind))


@pytest.mark.parametrize("text", ["Search", "Comments", "Contents", "Print", "Topics", "分享", "目录", "编辑：步骤一"])
def test_what_labels_a_line_may_be_the_heading_of_a_section(text):
    assert kept_between(block(text, "heading"))


@pytest.mark.parametrize("kind", ["paragraph", "item", "line"])
@pytest.mark.parametrize(
    "text",
    [
        "法律规定，未经著作权人许可，他人不得转载其作品。",
        "任何人未经作者同意，不得擅自转载。",
        "未经著作权人许可，不得转载其作品。",
        "本报讯 法院认为，未经作者许可，任何网站不得转载他人文章。",
        "第五十三条　未经著作权人许可，复制、发行、表演、放映其作品的，应当承担民事责任。",
        "用户扫描二维码即可付款，商家当天到账。",
        "人们越来越关注我们的生活方式。",
        "版权所有者可以许可他人使用作品。",
        "作者认为，来源：民间传说，并不可靠，因为没有一本书提到过这件事情的经过。",
        "The court held that Facebook's privacy policy did not bind minors, who had never agreed to it.",
        "He said that she didn't always follow through on suggestions from the committee.",
        "Clients subscribe to a topic, and the broker sends them what is published there.",
        "The newsletters of the society were printed until 1910, when their editor died.",
        "For the base of the cake we use cookies, and never those with raisins.",
        "A server uses cookies to remember who has logged in.",
        "Agents may earn a commission on every house that they sell.",
        "The spears have a tip of iron, and their shafts are made of ash.",
        "Related to this is the question whether the river was ever navigable.",
        "Source: the river rises in the hills north of the town and runs to the sea.",
        "Millions of people follow him on Twitter, where he writes about rivers.",
    ],
)
def test_whole_sentences_stay_whatever_words_they_have(text, kind):
    assert kept_between(block(text, kind))


@pytest.mark.parametrize("text", ["“OK.”", "Search!", "“继续。”"])
def test_a_word_that_somebody_says_stays(text):
    assert kept_between(block(text))


@pytest.mark.parametrize("kind", ["paragraph", "line"])
@pytest.mark.parametrize(
    "text",
    [
        "Advertisement",
        "广告",
        "Share on Facebook",
        "Print this article",
        "分享到微信",
        "打印本页",
        "阅读全文",
        "Read more from this author |",
        "View all (4)",
        "Related: The strangest galaxies of all",
        "You may also like...",
        "Comments (+)",
        "相关阅读：小镇的历史",
        "标签：河流 小镇",
        "责任编辑：李四",
        "SOURCE: News agencies",
        "Photo: Gene J. Puskar",
        "1 of 6",
        "Follow us on",
        "目录",
        "分享到",
        "分享到：",
        "分享到：新浪微博",
        "分享到微信朋友圈",
        "分享到 微信、QQ空间",
        "打印 | 关闭",
        "【打印】【关闭】",
        "阅读更多：小镇的历史",
        "Print | Close",
        "Read more: Ukraine war",
        "Share this:",
        "Share this: Facebook",
        "Share on: Twitter | Reddit",
        "Share on Facebook and Twitter",
        "Topics: War, Peace",
    ],
)
def test_labels_go(text, kind):
    assert not kept_between(block(text, kind))


@pytest.mark.parametrize(
    "text",
    [
        "This website uses cookies to improve your experience. We assume that you are fine with this.",
        "By using our site, you acknowledge that you have read and understand our Privacy Policy.",
        "© 2019 The River Daily. All Rights Reserved.",
        "Get the latest updates right in your inbox.",
        "Subscribe to the Morning Review newsletter",
        "If you buy something through this post, we may get a share of the sale.",
        "Follow us on Twitter @river or Facebook",
        "Have a tip? Write to the editors.",
        "This slideshow requires JavaScript.",
        "版权所有 © 2020 小镇日报",
        "未经授权，不得转载。",
        "未经本网书面许可，任何单位和个人不得转载。",
        "转载请注明出处。",
        "本文为原创，未经许可，请勿转载！",
        "凡注明来源为本网的作品，未经本网授权不得转载、摘编。",
        "版权归小镇日报社所有。未经许可，不得转载。",
        "未經授權，嚴禁轉載",
        "未经作者同意，不得转载本文。",
        "Comments are closed",
        "Comments have been turned off for this post.",
        "评论已关闭",
        "扫描下方二维码关注小镇日报",
        "欢迎关注我们的公众号！",
    ],
)
def test_what_a_site_says_to_its_readers_goes(text):
    assert not kept_between(block(text))


@pytest.mark.parametrize("kind", ["paragraph", "item", "line"])
@pytest.mark.parametrize(
    "text",
    [
        "合同写明，小说的版权归出版社所有，未经许可不得转载。三年以后，作者又把其中两章交给一家杂志，出版社告到了法院。",
        "三年以前，他把这部写了半辈子的小说交给一家出版社。書的版權歸出版社所有，未經許可不得轉載。",
        "合同里说版权属于出版社，未经同意任何人不得转载，但是作者三年以后又把其中两章交给了一家杂志。",
        "书的最后一页印着“版权所有，翻印必究”八个字，可是镇上的每一个书摊都在卖便宜的盗版。",
        "A stone by the river says copyright 1998, all rights reserved, and nobody in the town knows who put it there.",
        "Copyright by the press, all rights reserved, it says. Years later the author sold a chapter to a magazine.",
        "版权所有，未经许可不得转载。这行小字印在每本书的最后一页，作者们为了它争论了整整二十年。他们的理由如下：",
        "他在一本旧书的最后一页上看见一行很小的字，镇上从来没有人注意过它：“版权所有，未经许可不得转载”",
        "Copyright by the press, all rights reserved, it says. Its author, who sold a chapter to a magazine, replied:",
        "At the foot of the stone somebody carved a line that nobody reads: copyright 1998, all rights reserved",
    ],
)
def test_a_notice_of_rights_within_prose_stays(text, kind):
    assert kept_between(block(text, kind))


@pytest.mark.parametrize("kind", ["paragraph", "line"])
@pytest.mark.parametrize(
    "text",
    [
        "文章来源于网络，版权归原作者所有，未经许可不得转载，如有侵权请联系我们删除，谢谢您的理解与支持。",
        "【声明】凡注明“来源：小镇网”的作品，未经本网授权不得转载。已经授权的，应在授权范围内使用，并注明来源。违反上述声明者，本网将追究其法律责任。",
        "版权归小镇日报社所有，未经书面授权，任何单位和个人不得以任何形式转载、复制、镜像，违者将依法追究法律责任。",
        "版权所有 © 2020 小镇日报社 未经许可不得转载 地址：河边大街一号小镇日报大厦十二层编辑部 电话：12345",
        "版权所有 © 2020 小镇日报社 未经许可不得转载 地址：河边大街一号小镇日报大厦十二层编辑部 电话：",
        "主办：小镇日报社 地址：河边大街一号小镇日报大厦十二层编辑部 版权：版权所有，未经许可不得转载",
        "© 2019 The River Daily. All rights reserved. This material may not be published, broadcast or redistributed.",
        "Copyright 2019 by The River Daily. All rights reserved. River Daily is a trademark of River Inc.",
    ],
)
def test_a_notice_of_rights_of_several_sentences_goes(text, kind):
    assert not kept_between(block(text, kind))


@pytest.mark.parametrize("text", ["Cookie Settings", "Newsletter", "Terms of Use", "关注我们", "扫描二维码"])
def test_a_few_words_about_the_site_go_where_they_stand_alone(text):
    assert not kept_between(block(text, "line"))


@pytest.mark.parametrize(
    "heading", ["About the author", "Related articles", "Share this story", "相关阅读", "作者简介"]
)
def test_everything_after_a_heading_of_back_matter_goes(heading):
    prose = [block(ENGLISH * 3), block(CHINESE * 3)]
    assert without_boilerplate([*prose, block(heading, "heading"), block(ENGLISH)], [])[0] == prose


FURNITURE = {
    ENGLISH: ["Home", "The river", "By Li Lei", "Advertisement", "Comments are closed", "Towns", "About the author"],
    CHINESE: ["首页", "河流", "记者 李雷", "广告", "未经授权，不得转载。", "小镇的历史", "作者简介"],
}


@pytest.mark.parametrize("prose", FURNITURE, ids=["en", "zh"])
def test_every_rule_counts_the_lines_and_characters_that_it_takes_out(prose):
    menu, headline, deck, label, pitch, link, back = FURNITURE[prose]
    text = [block(prose * 3)] * 3
    linked = Block("item", 0, link, len(link), gap=False)
    title = Block("heading", 1, headline, 0, gap=True)
    pieces = [block(menu, "line"), title, block(deck, "line"), *text[:2], block(label), block(pitch), linked]
    kept, found, removals = without_boilerplate([*pieces, text[2], block(menu, "heading")], [])
    assert (kept, found) == (text, headline)
    assert removals == [
        ("page_headline", 2, len(menu) + len(headline) + 2),
        ("page_deck", 1, len(deck) + 1),
        ("page_labels", 1, len(label) + 1),
        ("page_pitches", 1, len(pitch) + 1),
        ("page_links", 1, len(f"- {link}") + 1),
        ("page_tail", 1, len(menu) + 1),
    ]
    after = [block(back, "heading"), block(prose)]
    assert without_boilerplate([*text, *after], [])[2] == [
        ("page_back_matter", 2, sum(len(each.text) + 1 for each in after))
    ]


def test_a_page_that_would_lose_all_keeps_all_and_counts_nothing():
    furniture = [block("广告"), block("Advertisement")]
    assert without_boilerplate(furniture, []) == (furniture, None, [])
