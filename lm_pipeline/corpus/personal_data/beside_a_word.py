"""Numbers that only a word beside them tells: what may stand between the two, and what shows that they count something.

`手机出货量达到35000000部` and "aims to reach 10000000 users" have the word and the digits and are no telephone numbers.
So a number follows its word at once, after punctuation, or after words that lead to a number (`number is`, `号码：`);
and nothing that is counted follows it.
"""

import re

_SIGN = r"""[ \t:：=#*/.,，、;；|&_~～'"“”<>\[\]【】「」『』)）（\-–—]"""
_ENGLISH = (
    "numbers?|num|nos?|nr|home|work|office|direct|private|mobile|cell|fax|phone|telephone|tel|line|hotline|contact|day|"
    "evening|me|us|him|her|them|now|today|here|is|are|at|on|by|either|or|and|via|the|our|my|your|their|his"
)
_CHINESE = (
    "号码|號碼|号|號|是|为|為|或|及|和|请|請|拨打|撥打|致电|致電|联系|聯繫|咨询|諮詢|热线|熱線|电话|電話|传真|傳真|手机|手機|座机|"
    "微信|同号|办公|辦公|家庭|单位|总机|客服|服务|订餐|预订|预约|报名|投诉|举报|"
    r"\p{Han}{1,3}(?:先生|女士|小姐|老师|老師|经理|經理|主任|医生|醫生)"
)

GAP = rf"(?:{_SIGN}{{1,3}}\(?(?i:{_ENGLISH})|{_SIGN}{{0,3}}\(?(?:{_CHINESE})){{0,5}}\)?{_SIGN}{{0,16}}"
"""A regular expression of what stands between the word and the number; all linear, as polars' are."""

_COUNTED = re.compile(
    r"[ \t]?(?:[%％万萬亿億千百件次户戶元条條辆輛吨噸]|部(?![门門])|本(?![店公院校部])|[个個](?!人)|人(?!工)|"
    r"台(?![湾灣北])|位(?![于於置])|美元|欧元|人民币)"
    r"|[ \t]+(?:more |new |active |monthly )?(?:users?|units?|people|persons?|subscribers?|customers?|clients?|"
    r"members?|visitors?|viewers?|households?|times|calls|messages|pages|copies|items|files|devices|phones|handsets|"
    r"downloads|cells|records|passports?|travell?ers|citizens|dollars|euros|pounds|yuan|thousand|million|billion|per|"
    r"percent)\b",
    re.IGNORECASE,
)


def is_count(after: str) -> bool:
    """Whether what follows a number says that it counts something.

    >>> is_count("部手机"), is_count(" users"), is_count("部门"), is_count(" now")
    (True, True, False, False)
    """
    return _COUNTED.match(after) is not None
