"""Notices of rights: that a site's texts are its own, and who may reprint them.

The same words stand in texts about rights: a contract that is told of, a law, a page on which somebody found them. So a
notice is what says little else; where prose goes on around the words, all of it is text.
"""

import re

from lm_pipeline.corpus.extraction.blocks import size_of

_OURS = r"""(?:本(?:文(?![认認讨討研探])|[站网網刊社台号號页頁]|[报報](?![讯訊]|[记記]者)|公司|平台|公众号|作品)
    |原[创創]|(?:版权|版權)[归歸属屬])"""
_NO_REPRINT = (
    r"""(?:许可|許可|授权|授權|允许|允許|同意).{0,12}(?:不得|禁止|请勿|請勿|严禁|嚴禁|谢绝|謝絕).{0,8}(?:转载|轉載)"""
)
_NOTICE = re.compile(
    rf"""(?:©|\(c\)|\bcopyright\b).{{0,80}}\ball\srights\sreserved\b|(?:版权所有|版權所有)(?![者人权權])
    |{_OURS}.{{0,40}}(?:未经|未經).{{0,14}}{_NO_REPRINT}(?![其他她该該别別的])
    |(?:未经|未經)(?:.{{0,8}}{_OURS}.{{0,12}}{_NO_REPRINT}|.{{0,14}}{_NO_REPRINT}.{{0,4}}(?:{_OURS}|此文))
    |^\W*(?:未经|未經)(?:书面|書面|事先|明确|明確|正式|合法|作者|原作者|版权方|版權方|本人|博主|官方)*{_NO_REPRINT}
      (?:[\s、,，/和或及]*(?:摘编|摘編|复制|複製|使用|引用|镜像|鏡像|转发|轉發|发布|發布|传播|傳播))*\W*$""",
    re.VERBOSE,
)
_OF_SITES = re.compile(
    rf"""{_OURS}|(?:声明|聲明|侵权|侵權|违者|違者|违反|違反|追究|摘编|摘編|复制|複製|镜像|鏡像|转载|轉載)|(?:联系|聯繫)我
    |(?:来源|來源|出处|出處)|\b(?:we|us|our|you|your)\b|\bthis\s(?:content|material|page|publication|site|website)\b
    |\b(?:may|must|shall)\snot\sbe\b|\b(?:copyright|permission|registered|reprint|reproduc|trademark)""",
    re.VERBOSE,
)
"""Words of the sentences that go with a notice."""
_SENTENCES = re.compile(r"[.!?。！？]+")
_LAST_STOP = re.compile(r"[.!?。！？…]\W*$")
_LEADS_ON = re.compile(r"[^:：]*[:：]\W*")
"""Prose that leads to what comes next; addresses have more colons."""
_LEAST_PROSE = 60


def is_rights_notice(text: str) -> bool:
    """Whether a block is one.

    Args:
        text: of the block, in lower case.
    """
    notice = _NOTICE.search(text)
    if notice is None:
        return False
    around = text[: notice.start()], text[notice.end() :]
    sentences = [sentence for part in around for sentence in _SENTENCES.split(part)]
    prose = sum(size_of(sentence) for sentence in sentences if not _OF_SITES.search(sentence))
    return prose < _LEAST_PROSE or not (_LAST_STOP.search(text) or any(map(_LEADS_ON.fullmatch, around)))
