"""E-mail addresses (RFC 5321's dot-string form, in ASCII), also as people write them to hide them from programs."""

import re

from lm_pipeline.corpus.personal_data.kind import Kind, Pattern

# What stands behind an @ in file names and code, and is no top-level domain there.
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "html", "py", "so"})
_SERVICES = frozenset({"git", "hg", "svn"})  # git@github.com is how one clones, nobody's address

_OPEN, _CLOSE = r" ?[(\[{<（【] ?", r" ?[)\]}>）】] ?"
_AT = rf"(?:{_OPEN}(?:(?i:at)|@|艾特){_CLOSE})"
_DOT = rf"(?:{_OPEN}(?:(?i:dot)|\.|点){_CLOSE}| (?i:dot) )"
_LOCAL = r"[A-Za-z0-9_][A-Za-z0-9._%+'-]{0,63}"
_HIDDEN_LOCAL = rf"{_LOCAL}(?:{_DOT}[A-Za-z0-9_-]{{1,63}}){{0,2}}"
_LABELS, _TOP = r"(?:[A-Za-z0-9-]{1,63}\.){1,8}", r"[A-Za-z]{2,24}"
_HIDDEN_LABELS = rf"(?:[A-Za-z0-9-]{{1,63}}(?:\.|{_DOT})){{1,8}}"
_ADDRESS_BEFORE = re.compile(rf"{_LOCAL}@{_LABELS}{_TOP}/$")
_COMMON_TOP = "(?:com|net|org|edu|gov|info|io|me|cn|de|fr|uk|us|jp|ru)"
_MAILBOXES = (
    r"(?:(?:vip\.)?(?:qq|163|126|139|189|sina|sohu|foxmail|gmail|hotmail|outlook|yahoo|yeah|aliyun|icloud)"
    r"\.(?:com\.cn|com|cn|net))"
)
_HINT = "|".join(
    re.escape(literal)
    for literal in (
        *(
            sign.format(at)
            for at in ("at", "AT", "At", "@")
            for sign in ("({})", "[{}]", "{{{}}}", "<{}>", "( {} )", "[ {} ]")
        ),
        *("（at）", "（AT）", "（@）", "【at】", "【AT】", "【@】", "艾特", " dot ", " DOT ", "(dot)", "[dot]"),
        *("#qq.", "#vip.", "#163.", "#126.", "#139.", "#189.", "#sina.", "#sohu.", "#foxmail.", "#gmail."),
        *("#hotmail.", "#outlook.", "#yahoo.", "#yeah.", "#aliyun.", "#icloud."),
    )
)


def _verify(value: str, before: str, after: str) -> int:
    local, _, domain = value.rpartition("@")
    labels = domain.split(".")
    wrong = (
        len(value) > 254
        or ".." in local
        or local.endswith(".")
        or any(not 1 <= len(label) <= 63 or label[0] == "-" or label[-1] == "-" for label in labels)
        or labels[-1].lower() in _FILES
        or (local.lower() in _SERVICES and after.startswith((":", "/")))
        or before.endswith("@")
        or (before.endswith("/") and not _ADDRESS_BEFORE.search(before))  # a place on a server
        or after.startswith("@")
    )
    return 0 if wrong else len(value)


def _verify_hidden(value: str, before: str, after: str) -> int:
    """An address whose signs are spelt out: what it spells must be one."""
    return len(value) if _verify(_spelt_out(value), before, after) else 0


def _verify_named(value: str, before: str, after: str) -> int:
    """The same where words of prose stand between: "look at this dot com" is no address, so the name is no word."""
    local = re.split(r"[ @#]", value, maxsplit=1)[0]
    return _verify_hidden(value, before, after) if re.search(r"[0-9._]", local) else 0


def _spelt_out(value: str) -> str:
    """An address with the signs that stand for its `@` and its dots.

    >>> _spelt_out("li (dot) wei [AT] foo dot com"), _spelt_out("li.wei#qq.com")
    ('li.wei@foo.com', 'li.wei@qq.com')
    """
    plain = re.sub(f"{_AT}| ?@ ?|#| (?i:at) ", "@", value)
    return re.sub(_DOT, ".", plain)


EMAIL = Kind(
    name="email",
    hint="@",
    patterns=(
        Pattern(rf"(?P<value>{_LOCAL}@{_LABELS}{_TOP})(?-u:\b)", _verify),
        # Signs in brackets: li (at) foo.com, li[at]foo[dot]com.
        Pattern(rf"(?P<value>{_HIDDEN_LOCAL}{_AT}{_HIDDEN_LABELS}{_TOP})(?-u:\b)", _verify_hidden, _HINT),
        # Signs as words, or with spaces: li.wei at foo dot com, li.wei @ foo.com.
        Pattern(
            rf"(?P<value>{_HIDDEN_LOCAL} (?i:at) (?:[A-Za-z0-9-]{{1,63}}{_DOT}){{1,4}}{_COMMON_TOP})(?-u:\b)",
            _verify_named,
            _HINT,
        ),
        Pattern(rf"(?P<value>{_LOCAL}(?: @ ?|@ ){_LABELS}{_COMMON_TOP})(?-u:\b)", _verify_named),
        # A number sign for the @, as on Chinese forums, at the mailboxes that most people have.
        Pattern(rf"(?P<value>{_LOCAL}#{_MAILBOXES})(?-u:\b)", _verify_hidden, _HINT),
    ),
    canonical=lambda value: _spelt_out(value).lower(),
)
