r"""Which blocks of a page's main content are furniture all the same: bylines, captions, adverts, share buttons.

resiliparse removes a page's frame by the names of its elements. What is left is judged here by what pages have in
common: the headline comes before the text and stands in a column of its own; text is made of sentences; furniture is
short, made of links, or one of a few set phrases (in English, Chinese and where they are well known in other
languages). Each rule is a function from blocks to blocks; `docs/extraction.md` has what each is worth.
"""

import re
from collections.abc import Callable, Sequence

from lm_pipeline.corpus.extraction.blocks import Block

_WORD = re.compile(r"\w+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_SENTENCE_END = re.compile(r"[.!?。！？…]['\"”’»」』)）\]]*$")
_CLAUSE_END = re.compile(r"[.!?。！？…;；:：]['\"”’»」』)）\]]*$")

_LABEL = re.compile(
    r"""^\W*(?:
    (?:advert(?:isement|ising)?s?|ads?|sponsored(?:\scontent)?|promoted|iklan|anzeige|werbung|publicit[ée]|publicidad
      |publicidade|реклама|広告|スポンサー(?:ド)?リンク|スポンサードリンク|广告|廣告)\W*
    |(?:share|tweet|pin|e-?mail|print|save)(?:\s(?:this|on|via|to|with)\b.{0,40})?
    |(?:分享|转发|轉發|打印|收藏|点赞|シェア|共有|ツイート|印刷)(?:到|至|给|する)?.{0,10}
    |(?:read|see|learn|show|load|view)\s(?:more|all|full)\b.{0,60}
    |(?:阅读|閱讀|查看|显示|顯示|加载)(?:全文|更多|原文)|更多|続きを読む|もっと見る
    |(?:related|recommended|see\salso|more\s(?:from|on)|must\sread|most\s(?:read|popular)|trending|you\s(?:may|might)\salso
      |explore\sfurther|filed\sunder|follow\sus|available\son|tags?|topics?|categor(?:y|ies)|sections?|comments?
      |leave\sa\s(?:comment|reply))\b.{0,60}
    |(?:相关|相關|推荐|推薦|延伸|热门|熱門)(?:阅读|閱讀|新闻|新聞|文章|链接|連結|内容|推荐)?\W.{0,20}|関連記事.{0,20}
    |(?:标签|標籤|关键词|關鍵詞|责任编辑|責任編輯|编辑|編輯|来源|來源|作者|评论|評論|コメント|タグ|カテゴリー?)\s?[:：(（].{0,30}
    |(?:image|photo|slide)\s\d+\s(?:of|/).{0,6}\d+|\d+\s(?:of|/)\s\d+
    |(?:(?:image|photo|picture|video|photograph)s?(?:\s(?:credits?|courtesy|by))?|source|credit|图片来源|图源|圖片來源
      |写真|摄影|攝影)\s?[:：].{0,120}
    |(?:caption|close|ok|accept|menu|search|subscribe|(?:sign|log)\s(?:up|in)|cancel|next|previous|continue|skip
      |back\sto\stop|get\sit|key\spoints|(?:table\sof\s)?contents|目录|目錄|目次)\W*
    |getty\simages
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Short lines that only label, credit or operate something."""

_PITCH = re.compile(
    r"""\b(?:uses?\scookies|cookie\s(?:policy|settings|preferences)|subscribe\s(?:to|now|for)|newsletters?
      |sign\sup\s(?:for|to)\s(?:our|your|get|receive)|(?:in|to)\syour\sinbox|follow\s(?:us|him|her|them|me|\w+)\son
      |terms\sof\s(?:use|service)|privacy\spolicy|all\srights\sreserved|subject\sto\scopyright
      |earn\sa\s(?:small\s)?commission|may\sget\sa\sshare|have\sa\s(?:news\s)?tip|(?:requires|enable)\sjavascript)\b
    |/\s?getty\b
    |版权所有|版權所有|(?:未经|未經).{0,10}(?:许可|許可|授权|授權)|(?:转载|轉載)(?:请|請)|扫描.{0,4}二维码|关注我们|關注我們""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a site says about itself: cookies, newsletters, rights, commissions, the credits of its pictures."""

_PITCH_HINTS = (
    *("cookie", "subscribe", "newsletter", "sign up", "inbox", "follow ", "terms of", "privacy", "rights reserved"),
    *("copyright", "commission", "get a share", "have a ", "javascript", "getty"),
    *("版权", "版權", "未经", "未經", "转载", "轉載", "二维码", "关注", "關注"),
)
"""Of these, what matches `_PITCH` has at least one. Looking for them is ten times as fast."""

_BACK_MATTER = re.compile(
    r"""^\W*(?:about\s(?:the\sauthor|\w+(?:\s\w+){0,2}$)|more\s(?:on|from|about)|related|read\snext|recommended|you\smay
      |newsletter|your\sprivacy|share|comments?|leave\sa|相关|相關|推荐|推薦|延伸阅读|延伸閱讀|関連|作者简介|作者簡介)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Headings of what follows an article and is no part of it."""


def without_boilerplate(blocks: list[Block], titles: Sequence[str]) -> tuple[list[Block], str | None]:
    """Drop what is no part of the text.

    Args:
        blocks: the page's main content.
        titles: what the page calls itself: `<title>`, `og:title`.

    Returns:
        The blocks of the text, and the headline if one was found. A page of which nothing would stay keeps all.
    """
    headline = _headline(blocks, titles)
    kept = blocks[headline + 1 :] if headline is not None else blocks
    for rule in RULES:
        kept = rule(kept)
    if not kept:
        kept = blocks
    return kept, blocks[headline].text if headline is not None else None


def _headline(blocks: Sequence[Block], titles: Sequence[str]) -> int | None:
    """Index of the headline: a first or second heading that says what the title says, else the first `h1`.

    Looked for in the first third of the text: what comes before it are menus, notices and pictures.
    """
    total = sum(len(block.text) for block in blocks)
    seen = 0
    for index, block in enumerate(blocks):
        if seen > max(600, 0.35 * total):
            return None
        if block.kind == "heading" and (
            block.level == 1 or (block.level == 2 and any(_alike(block.text, title) for title in titles))
        ):
            return index
        seen += len(block.text)
    return None


def _alike(heading: str, title: str) -> bool:
    """Whether a title is the heading, apart from the site's name and a word or two."""
    words, others = (set(_WORD.findall(text.lower())) for text in (heading, title))
    common = len(words & others)
    return common > 0 and common >= 0.7 * min(len(words), len(others)) and common >= 0.5 * len(words)


def _without_deck(blocks: list[Block]) -> list[Block]:
    """Drop the short lines and headings between headline and text: deck, byline, date, section.

    A short heading right before the text stays: it is the first section's.
    """
    first = 0
    while first < min(len(blocks), 10) and _is_deck(blocks[first]):
        first += 1
    if first and blocks[first - 1].kind == "heading" and _size(blocks[first - 1].text) < 60:
        first -= 1
    return blocks[first:]


def _is_deck(block: Block) -> bool:
    size = _size(block.text)
    is_prose = size >= 80 and block.link_fraction < 0.4 and _CLAUSE_END.search(block.text) is not None
    if is_prose or block.kind not in {"line", "heading"}:
        return False
    return block.kind == "heading" or size < 80 or block.link_fraction >= 0.5


def _without_labels(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if block.kind == "pre" or _size(block.text) > 120 or not _LABEL.match(block.text)]


def _without_pitches(blocks: list[Block]) -> list[Block]:
    page = "\n".join(block.text for block in blocks).lower()
    hints = [hint for hint in _PITCH_HINTS if hint in page]
    return [block for block in blocks if not (hints and _is_pitch(block, hints))]


def _is_pitch(block: Block, hints: Sequence[str]) -> bool:
    text = block.text.lower()
    return (
        any(hint in text for hint in hints)
        and block.kind != "pre"
        and _size(text) <= 400
        and _PITCH.search(text) is not None
    )


def _without_links(blocks: list[Block]) -> list[Block]:
    """Drop blocks that are links and nothing else: see-alsos, lists of articles, tables of contents."""
    return [block for block in blocks if block.link_fraction <= 0.8 or _size(block.text) >= 400]


def _without_back_matter(blocks: list[Block]) -> list[Block]:
    """Drop everything from a heading such as 'About the author' on, in the last two fifths of the text."""
    total = sum(len(block.text) for block in blocks)
    seen = 0
    for index, block in enumerate(blocks):
        if seen > 0.6 * total and block.kind == "heading" and _BACK_MATTER.match(block.text):
            return blocks[:index]
        seen += len(block.text)
    return blocks


def _without_tail(blocks: list[Block]) -> list[Block]:
    """Drop headings that nothing follows, and short lines at the end that are no sentences."""
    end = len(blocks)
    while end and (
        blocks[end - 1].kind == "heading"
        or (
            blocks[end - 1].kind == "line"
            and _size(blocks[end - 1].text) < 80
            and not _SENTENCE_END.search(blocks[end - 1].text)
        )
    ):
        end -= 1
    return blocks[:end]


RULES: tuple[Callable[[list[Block]], list[Block]], ...] = (
    _without_deck,
    _without_labels,
    _without_pitches,
    _without_links,
    _without_back_matter,
    _without_tail,
)
"""In the order in which they are applied."""


def _size(text: str) -> int:
    """Length in characters; a Han, Kana or Hangul character says as much as three letters."""
    return len(text) if text.isascii() else len(text) + 2 * len(_WIDE.findall(text))
