"""Numbers that only a word beside them tells: what may stand between the two, and what shows that they count something.

`手机出货量达到35000000部` and "aims to reach 10000000 users" have the word and the digits and are no telephone numbers.
So a number follows its word at once, or after punctuation, words that lead to a number (`number is`, `号码：`), a
remark in brackets or whose number it is (`电话：张三 62781234`); and nothing says that it counts something.
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

_SURNAME = (
    "[王李张張刘劉陈陳杨楊赵趙黄黃周吴吳徐孙孫胡朱高林何郭马馬罗羅梁宋郑鄭谢謝韩韓唐冯馮于董萧蕭程曹袁邓鄧许許傅沈曾彭吕呂"
    "苏蘇卢盧蒋蔣蔡贾賈丁魏薛叶葉阎閻余潘杜戴夏钟鍾汪田任姜范方石姚谭譚廖邹鄒熊金陆陸郝孔白崔康毛邱秦江史顾顧侯邵孟龙龍万"
    "段雷钱錢汤湯尹黎易常武乔喬贺賀赖賴龚龔文]|欧阳|歐陽|上官|司马|司馬|诸葛|諸葛|司徒"
)
_CAPITALISED = r"[A-ZÀ-Þ][A-Za-zÀ-ÿ'’\-]*\.?"  # smaller than the classes of Unicode: a regular expression has a limit
_NAME = (
    rf"(?:(?i:mr|mrs|ms|miss|dr|prof)\.? {_CAPITALISED}|{_CAPITALISED} {_CAPITALISED})(?: {_CAPITALISED})?"
    rf"|(?:{_SURNAME})\p{{Han}}{{1,2}}"
)
_REMARK = r"[ \t.]{0,2}[(（](?:[A-Z][A-Za-z .]{0,19}[)）]|[^()（）0-9\n]{1,20}[)）][ \t]?[:：]|\p{Han}{1,8}[)）])"


def gap(*words: str) -> str:
    """A regular expression of what stands between the word and the number; all linear, as polars' are.

    Args:
        *words: those that lead to a number of this kind only.
    """
    lead = "|".join([_CHINESE, *words])
    return (
        rf"(?:{_SIGN}{{1,3}}\(?(?i:{_ENGLISH})|{_SIGN}{{0,3}}\(?(?:{lead})|{_REMARK}|[:：][ \t]?(?:{_NAME})[ \t:：,，])"
        rf"*\)?{_SIGN}{{0,16}}"
    )


_COUNTING = re.compile(
    r"(?:[量数數额額率]|用户|用戶|[(（][百千万萬亿億][部台本人元]?|\b(?:users?|subscribers?|units?|sold|shipments?|total|issued|"
    r"thousands?|millions?|billions?))[)）]?[\s:：=]*$",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"[ \t]?(?:[%％亿億件辆輛吨噸]|万(?![一能事分])|萬(?![一能事分])|千(?![万萬])|百(?![度忙姓货貨])|次(?![日月年要])|"
    r"[户戶](?![外口主籍型])|元(?![旦月])|[条條](?![件款例])|部(?![门門长長分队隊])|本(?![店公院校部人])|[个個](?![人别別体體性])|"
    r"人(?![工事力才])|台(?![湾灣北州风風])|位(?![于於置])|美元|欧元|人民币)"
    r"|[ \t]+(?:more |new |active |monthly )?(?:users?|units?|people|persons?|subscribers?|customers?|clients?|"
    r"members?|visitors?|viewers?|households?|times|calls|messages|pages|copies|items|files|devices|phones|handsets|"
    r"downloads|cells|records|passports?|travell?ers|citizens|dollars|euros|pounds|yuan|thousand|million|billion|per|"
    r"percent)\b",
    re.IGNORECASE,
)


def is_count(before: str, after: str) -> bool:
    """Whether what is beside a number says that it counts something.

    >>> is_count("", "部手机"), is_count("", " users"), is_count("（出货量）：", ""), is_count("", "部门")
    (True, True, True, False)
    """
    return _COUNTING.search(before) is not None or _COUNTED.match(after) is not None
