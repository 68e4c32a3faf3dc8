r"""Which blocks of a page's main content are furniture all the same: bylines, captions, adverts, share buttons.

resiliparse removes a page's frame by the names of its elements. What is left is judged here by what pages have in
common: the headline comes before the text and stands in a column of its own; text is made of sentences; furniture is
short, made of links, or one of a few set phrases (in English, Chinese and where they are well known in other
languages). Each rule is a function from blocks to blocks; `docs/extraction.md` has what each is worth.
"""

import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from lm_pipeline.corpus.extraction.blocks import Block, size_of
from lm_pipeline.corpus.extraction.parsed import Removal
from lm_pipeline.corpus.extraction.rights_notices import is_rights_notice

_WORD = re.compile(r"\w+")
_SENTENCE_END = re.compile(r"[.!?。！？…]['\"”’»」』)）\]]*$")
_FULL_STOP = re.compile(r"(?<!\.)[.!?。！？]['\"”’»」』)）\]]*$")
_CLAUSE_END = re.compile(r"[.!?。！？…;；:：]['\"”’»」』)）\]]*$")

_SERVICES = r"""(?:facebook|twitter|linkedin|instagram|youtube|pinterest|reddit|whatsapp|telegram|tumblr|e-?mail
    |shortlink|微信|微博|新浪微博|腾讯微博|朋友圈|好友|QQ(?:空间)?|豆瓣|人人网)"""
_SOME_SERVICES = rf"""(?:\s?(?:x\b|{_SERVICES})(?:(?:[\s,，、/|&]|and\b|or\b|和|或)*(?:x\b|{_SERVICES}))*)?"""
_OPERATION = r"""(?:share|tweet|e-?mail|print|save|close|分享|转发|轉發|打印|收藏|点赞|复制|举报|返回|关闭|關閉)"""
_ARTICLES = r"(?:articles?|coverage|content|links?|news|pages?|posts?|reading|stor(?:y|ies)|topics?|videos?)"
_TERMS = r"(?:privacy\spolicy|terms\sof\s(?:use|service))"
_BEGINS = r"(?:^|[.!?]\s+|\bplease\s)"
_LABEL = re.compile(
    rf"""^\W*(?:
    (?:advert(?:isement|ising)?s?|ads?|sponsored(?:\scontent)?|promoted|iklan|anzeige|werbung|publicit[ée]|publicidad
      |publicidade|реклама|広告|スポンサー(?:ド)?リンク|スポンサードリンク|广告|廣告)
    |(?:share|tweet|pin|e-?mail|print|save)(?:\sthis)?(?:\s{_ARTICLES})?
      (?:\s(?:on|via|to|with|by)\b(?:\s?[:：])?{_SOME_SERVICES}|\s?[:：]{_SOME_SERVICES})?
    |{_OPERATION}(?:[\s|｜/·\[\]【】]+{_OPERATION})+
    |(?:分享|转发|轉發|打印|收藏|点赞|シェア|共有|ツイート|印刷)
      (?:(?:到|至|给)\s?[:：]?{_SOME_SERVICES}|する|本[文页頁]|此文|文章)?(?:\s?[:：].{{0,20}}|\s?\d+)?
    |(?:read|see|learn|show|load|view)\s(?:more|all|full)
      (?:\s{_ARTICLES}|\scomments?|\s(?:about|at|by|from|on)\s[^.!?]{{1,50}}|\s?:.{{0,60}}|\s?\(\d+\))?
    |(?:阅读|閱讀|查看|显示|顯示|加载)(?:全文|更多|原文)(?:\s?[:：].{{0,40}})?|更多|続きを読む|もっと見る
    |(?:related|recommended|trending|most\s(?:read|popular)|must\sreads?)(?:\s{_ARTICLES})?
      (?:\s(?:from|now)\b.{{0,40}}|\sfor\syou)?(?:\s?:.{{0,60}})?
    |more\s(?:from|on)\sthis\s(?:author|site|{_ARTICLES})|you\s(?:may|might)\salso\s(?:like|enjoy|be\sinterested\sin)
    |(?:see\salso|tags?|categor(?:y|ies)|filed\sunder|comments?)(?:\s?:.{{0,60}}|\s?\(.{{0,8}}\))?
    |explore\sfurther|follow\sus(?:\son(?:\s{_SERVICES})?)?|available\son|leave\sa\s(?:comment|reply)
    |topic|topics(?:\s?:.{{0,60}})?|sections?
    |(?:相关|相關|推荐|推薦|延伸|热门|熱門)(?:阅读|閱讀|新闻|新聞|文章|链接|連結|内容|推荐)(?:\s?[:：].{{0,40}})?
    |(?:相关|相關|推荐|推薦)[:：].{{0,20}}|関連記事.{{0,20}}
    |(?:标签|標籤|关键词|關鍵詞|责任编辑|責任編輯|编辑|編輯|来源|來源|作者|评论|評論|コメント|タグ|カテゴリー?)
      \s?(?:[:：][^。！？]{{0,30}}|[(（]\d*[)）])
    |(?:image|photo|slide)\s\d+\s(?:of|/).{{0,6}}\d+|\d+\s(?:of|/)\s\d+
    |(?:(?:image|photo|picture|video|photograph)s?(?:\s(?:credits?|courtesy|by))?|source|credit|图片来源|图源|圖片來源
      |写真|摄影|攝影)\s?[:：].{{0,120}}
    |(?:caption|close|ok|accept|menu|search|subscribe|(?:sign|log)\s(?:up|in)|cancel|next|previous|continue|skip
      |back\sto\stop|get\sit|key\spoints|(?:table\sof\s)?contents|目录|目錄|目次)
    |getty\simages
    )\W*$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Short lines that only label, credit or operate something; the whole line, or up to its colon."""

_PITCH = re.compile(
    rf"""\b(?:this|our)\s(?:web)?(?:site|page)\suses\scookies\b|\bwe\suse\scookies\s(?:to|and\s(?:other|similar)|on\s(?:this|our))\b
    |{_BEGINS}subscribe\s(?:now\b|(?:to|for)\b[^.!?]{{0,60}}\b(?:newsletters?|channel|podcast|youtube|updates|our|my)\b)
    |\b(?:subscrib(?:e|ing)|sign\sup)\s(?:to|for)\s(?:our|this|your)\s[^.!?]{{0,30}}\bnewsletters?\b
    |\bsign\sup\s(?:for|to)\s(?:our\b|(?:get|receive)\b[^.!?]{{0,40}}\b(?:updates|news|alerts|e-?mails?|offers)\b)
    |\b(?:news|headlines|updates|stories|offers)\b[^.!?]{{0,40}}\s(?:in|to)\syour\sinbox\b
    |{_BEGINS}follow\s(?:\S+\s){{1,3}}on\s{_SERVICES}\b
    |\bby\s\w+ing\b[^.!?]{{0,60}}\b(?:i|you)\s(?:accept|acknowledge|agree|consent)\b.{{0,60}}\b{_TERMS}\b
    |\bread\sour\b[^.!?]{{0,30}}\b{_TERMS}\b
    |^this\s\w+\sis\ssubject\sto\scopyright\b
    |\b(?:earn|get)\sa(?:n?\s(?:small\s|affiliate\s)?commission|\sshare)\b.*\b(?:this|our)\s(?:{_ARTICLES}|site)\b
    |\bthis\s(?:{_ARTICLES}|site)\b.*\b(?:earn|get)\sa(?:n?\s(?:small\s|affiliate\s)?commission|\sshare)\b
    |\bhave\sa\s(?:news\stip\b|tip\?)
    |\bthis\s\w+\srequires\sjavascript\b|\bplease\senable\sjavascript\b|\b(?:need\sto|must)\senable\sjavascript\sto\b
    |/\s?getty\b
    |(?:转载|轉載)(?:请|請)(?:注明|註明|联系|聯繫|标明|標明|保留)
    |^\W*comments\s(?:are|have\sbeen)\s(?:now\s)?(?:closed|disabled|turned\soff)
      (?:\s(?:on|for)\s(?:this|the)\s{_ARTICLES})?\W*$
    |^\W*(?:评论|評論)(?:功能)?已?(?:被|经|經)?(?:关闭|關閉)\W*$
    |扫描.{{0,4}}二维码.{{0,8}}(?:关注|下载|加入|添加)|(?:请|請|欢迎|歡迎)(?:关注|關注)我[们們]
    |(?:关注|關注)我[们們]的?(?:微信|公众号|微博|官方)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a site says to its readers: cookies, newsletters, reprints, commissions, the credits of its pictures."""

_PITCH_WORDS = re.compile(
    rf"""\b(?:cookie\s(?:policy|settings|preferences)|newsletters?|{_TERMS}|all\srights\sreserved|subscribe\snow)\b
    |^\W*(?:关注|關注)我[们們]\W*$|^\W*扫描.{{0,4}}二维码""",
    re.IGNORECASE | re.VERBOSE,
)
"""The same in so few words that they are no sentence."""

_PITCH_HINTS = (
    *("cookie", "subscri", "newsletter", "sign up", "inbox", "follow ", "terms of", "privacy", "rights reserved"),
    *("copyright", "commission", "a share", "have a ", "javascript", "getty"),
    *("版权", "版權", "未经", "未經", "转载", "轉載", "二维码", "关注", "關注"),
    *("comments are", "comments have", "关闭", "關閉"),
)
"""Of these, what is a pitch has at least one. Looking for them is ten times as fast."""

_BACK_MATTER = re.compile(
    rf"""^\W*(?:about\sthe\sauthors?|more\s(?:from|on)\sthis\s(?:author|site|{_ARTICLES})|more\s{_ARTICLES}
      |related(?:\s{_ARTICLES}(?:\sfrom\b.{{0,40}})?)?|recommended\s(?:for\syou|{_ARTICLES})|most\s(?:read|popular)|read\snext
      |you\s(?:may|might)\salso\s(?:like|enjoy|be\sinterested\sin)|newsletter\ssign\s?up|your\sprivacy
      |share\sthis(?:\s{_ARTICLES})?|\d+\scomments?|comments?\s\(\d+\)|leave\sa\s(?:comment|reply)
      |(?:相关|相關|推荐|推薦|延伸|热门|熱門)(?:阅读|閱讀|新闻|新聞|文章|链接|連結|内容|推荐)|関連記事
      |作者简介|作者簡介|关于作者|關於作者)\W*$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Headings of what follows an article and is no part of it; whole ones, for 'Related work' is a part."""


def without_boilerplate(blocks: list[Block], titles: Sequence[str]) -> tuple[list[Block], str | None, list[Removal]]:
    """Drop what is no part of the text.

    Args:
        blocks: the page's main content.
        titles: what the page calls itself: `<title>`, `og:title`.

    Returns:
        The blocks of the text; the headline if one was found; by rule, what it took out (the headline with what is
        before it, and without the empty lines between blocks). A page of which nothing would stay keeps all.
    """
    headline = _headline(blocks, titles)
    steps = [blocks, blocks[headline + 1 :] if headline is not None else blocks]
    for rule in RULES.values():
        steps.append(rule(steps[-1]))
    removals = [
        (f"page_{name}", len(before) - len(after), _num_characters(before) - _num_characters(after))
        for name, (before, after) in zip(("headline", *RULES), pairwise(steps), strict=True)
        if len(after) < len(before)
    ]
    title = blocks[headline].text if headline is not None else None
    return (steps[-1], title, removals) if steps[-1] else (blocks, title, [])


def _num_characters(blocks: Sequence[Block]) -> int:
    """Of their lines, line breaks included."""
    return sum(len(block.line) + 1 for block in blocks)


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
    while first < min(len(blocks), 10) and _is_deck(blocks[first]) and not _is_row(blocks, first):
        first += 1
    if first and blocks[first - 1].kind == "heading" and size_of(blocks[first - 1].text) < 60:
        first -= 1
    return blocks[first:]


def _is_row(blocks: list[Block], index: int) -> bool:
    """Whether a block is a row of a table of several; a single one may be a byline, and rows of links are buttons."""
    beside = [*blocks[max(0, index - 1) : index], *blocks[index + 1 : index + 2]]
    own = blocks[index]
    return "\t" in own.text and own.link_fraction < 0.5 and any("\t" in block.text for block in beside)


def _is_deck(block: Block) -> bool:
    size = size_of(block.text)
    is_prose = size >= 80 and block.link_fraction < 0.4 and _CLAUSE_END.search(block.text) is not None
    if is_prose or block.kind not in {"line", "heading"}:
        return False
    return block.kind == "heading" or size < 80 or block.link_fraction >= 0.5


def _without_labels(blocks: list[Block]) -> list[Block]:
    return [block for block in blocks if not _is_label(block)]


def _is_label(block: Block) -> bool:
    """A heading is one only if nothing of an article has such a heading; a sentence of running text is none."""
    text = block.text
    if block.kind == "heading":
        return _BACK_MATTER.match(text) is not None
    size = size_of(text)
    if block.kind == "pre" or size > 120 or _LABEL.match(text) is None:
        return False
    return not ((block.kind == "paragraph" or size >= 60) and _FULL_STOP.search(text))


def _without_pitches(blocks: list[Block]) -> list[Block]:
    page = "\n".join(block.text for block in blocks).lower()
    hints = [hint for hint in _PITCH_HINTS if hint in page]
    return [block for block in blocks if not (hints and _is_pitch(block, hints))]


def _is_pitch(block: Block, hints: Sequence[str]) -> bool:
    text = block.text.lower()
    size = size_of(text)
    if block.kind == "pre" or size > 400 or not any(hint in text for hint in hints):
        return False
    is_short = size <= 70 and block.kind == "line" and not _SENTENCE_END.search(text)
    if _PITCH.search(text) is not None or is_rights_notice(text):
        return True
    return is_short and _PITCH_WORDS.search(text) is not None


def _without_links(blocks: list[Block]) -> list[Block]:
    """Drop blocks that are links and nothing else: see-alsos, lists of articles, tables of contents."""
    return [block for block in blocks if block.link_fraction <= 0.8 or size_of(block.text) >= 400]


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
    """Drop headings that nothing follows, and short lines at the end that are no sentences and no rows of a table."""
    end = len(blocks)
    while end and (
        blocks[end - 1].kind == "heading"
        or (
            blocks[end - 1].kind == "line"
            and size_of(blocks[end - 1].text) < 80
            and not _is_row(blocks, end - 1)
            and not _SENTENCE_END.search(blocks[end - 1].text)
        )
    ):
        end -= 1
    return blocks[:end]


RULES: dict[str, Callable[[list[Block]], list[Block]]] = {
    "deck": _without_deck,
    "back_matter": _without_back_matter,
    "labels": _without_labels,
    "pitches": _without_pitches,
    "links": _without_links,
    "tail": _without_tail,
}
"""By name, in the order in which they are applied."""
