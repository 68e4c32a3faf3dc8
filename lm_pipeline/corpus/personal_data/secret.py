"""API keys, access tokens, private keys and passwords.

Keys whose issuers gave them a form are found by it; others only where they are assigned to a name that says so
(`api_key = "…"`, `密码：…`), and if they look random.
"""

import base64
import binascii
import itertools
import json
import math
from collections import Counter

from lm_pipeline.corpus.personal_data.kind import Kind, Pattern

_FORMS = (
    r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}",  # GitHub
    r"gl(?:pat|dt|rt|cbt)-[A-Za-z0-9_-]{20,64}",  # GitLab
    r"xox[abeoprs]-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{20,}",  # Slack
    r"https://hooks\.slack\.com/services/[A-Za-z0-9/]{30,80}",
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{24,}",  # Stripe
    r"AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}|GOCSPX-[A-Za-z0-9_-]{28}",  # Google
    r"sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, DeepSeek
    r"hf_[A-Za-z0-9]{30,64}",  # Hugging Face
    r"npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,}",  # package indexes
    r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}",  # SendGrid
    r"LTAI[A-Za-z0-9]{12,26}|AKID[A-Za-z0-9]{32}",  # Alibaba Cloud, Tencent Cloud
    r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}",  # Telegram
    r"dop_v1_[0-9a-f]{64}|shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}|EAA[A-Za-z0-9]{60,}",  # DigitalOcean, Shopify, Facebook
)
_JWT = r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
_BEGIN = r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
_PEM = _BEGIN + r"(?:[A-Za-z0-9+/=\s:,.\\]|-[A-Za-z0-9])*(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----)?"
_PASSWORD_NAMES = r"passw(?:or)?d|passwd|passphrase|pwd|密码|密碼|口令"  # noqa: S105 - names, no password
_KEY_NAMES = (
    r"(?:api|access|auth|client|app|secret|private|account|encryption)[_ -]?(?:key|token|secret)(?:[_ -]?id)?"
    r"|secret|token|bearer|密钥|密鑰|令牌|秘钥"
)
_IS = r"[ \t]{0,3}(?:=>|:=|[:=：]|(?-u:\b)is(?-u:\b)|是|为|為)[ \t]{0,3}"
_ASSIGNED = (
    rf"(?P<before>(?i:{_PASSWORD_NAMES}|{_KEY_NAMES})['\x22]?(?:{_IS}|[ \t])['\x22`]?)"
    r"(?P<value>[A-Za-z0-9+/=_.~!@#$%^&*-]{6,})"
)

_PASSWORD_WORDS = ("password", "passwd", "passphrase", "pwd", "密码", "密碼", "口令")
_PLACEHOLDERS = ("example", "your", "xxxx", "****", "....", "changeme", "placeholder", "secret", "password", "token")


def _verify_key(value: str, before: str, after: str) -> int:  # noqa: ARG001 - the same interface for every kind
    return len(value.rstrip()) if len(value) > 64 else 0  # more than the line that begins it


def _verify_form(value: str, before: str, after: str) -> int:  # noqa: ARG001 - the same
    right = _is_jwt(value) if value.startswith("eyJ") else not _is_stand_in(value)
    return len(value) if right else 0


def _verify_assigned(value: str, before: str, after: str) -> int:
    value = value.rstrip(".!*") if value.endswith("==") else value.rstrip(".!*=")
    in_code = after[:1] in {"(", "[", "{"}  # a call or an index
    a_pseudonym = after[:1] == ">" and "<" in before  # what `redaction` writes
    if in_code or a_pseudonym or _is_stand_in(value):
        return 0
    named = before[-24:].lower()
    is_password = any(word in named for word in _PASSWORD_WORDS)
    return len(value) if (_is_password(value) if is_password else _is_random(value)) else 0


def _is_stand_in(value: str) -> bool:
    lowered = value.lower()
    return len(set(value)) < 5 or any(word in lowered for word in _PLACEHOLDERS)


def _is_jwt(value: str) -> bool:
    header = value.partition(".")[0]
    try:
        decoded = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(decoded, dict) and "alg" in decoded


def _is_password(value: str) -> bool:
    kinds = {_class(character) for character in value}
    return len(kinds) >= 2 and kinds != {"letter", "sign"} and bits_per_character(value) > 2


def _is_random(value: str) -> bool:
    """At least 12 characters of high entropy in which letters and digits alternate as they do not in a name."""
    classes = [_class(character) for character in value]
    changes = sum({a, b} == {"letter", "digit"} for a, b in itertools.pairwise(classes))
    return len(value) >= 12 and changes >= 3 and bits_per_character(value) > 3


def _class(character: str) -> str:
    return "letter" if character.isalpha() else "digit" if character.isdigit() else "sign"


def bits_per_character(value: str) -> float:
    """Shannon entropy of the characters of a value.

    >>> bits_per_character("aabb"), bits_per_character("aaaa")
    (1.0, 0.0)
    """
    counts = Counter(value).values()
    return max(0.0, -sum(count / len(value) * math.log2(count / len(value)) for count in counts))


SECRET = Kind(
    name="secret",
    hint=(
        r"AKI|ASIA|ABIA|ACCA|gh[pousr]_|github_pat|gl(?:pat|dt|rt|cbt)-|xox|xapp-|hooks\.slack|[rs]k_(?:live|test)_"
        r"|whsec_|AIza|ya29\.|GOCSPX-|sk-|hf_|npm_|pypi-|SG\.|LTAI|:AA|dop_v1_|shp(?:at|ss|ca|pa)_|EAA|eyJ|PRIVATE KEY"
        rf"|(?i:{_PASSWORD_NAMES}|{_KEY_NAMES})['\x22]?(?:[ \t]{{0,3}}(?:[=:：是为為]|is(?-u:\b))|[ \t][^ \t]*[0-9])"
    ),
    patterns=(
        Pattern(rf"(?P<value>{_PEM})", _verify_key),
        Pattern(rf"(?P<value>(?-u:\b)(?:{'|'.join(_FORMS)}|{_JWT})(?-u:\b))", _verify_form),
        Pattern(_ASSIGNED, _verify_assigned),
    ),
    canonical=str,
)
