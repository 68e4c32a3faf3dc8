"""IPv4 and IPv6 addresses. Private, reserved and documentation addresses name nobody and do not count."""

import ipaddress

from lm_pipeline.corpus.personal_data.kind import Kind, Pattern, stands_alone

_NUMBERED = (
    "version",
    "ver.",
    "ver",
    "v",
    "release",
    "section",
    "sec.",
    "chapter",
    "版本",
    "版本号",
    "版",
    "第",
    "§",
    "章",
    "节",
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")


def _verify_v4(value: str, before: str, after: str) -> int:
    words = before.rstrip(" :：=#").lower()
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        return 0
    # 1.2.3.4 is an address of somebody's, but a section or a version far more often.
    a_number = (max(address.packed) < 10 and "ip" not in words) or words.endswith(_NUMBERED)
    return len(value) if address.is_global and not a_number and stands_alone(before, after) else 0


def _verify_v6(value: str, before: str, after: str) -> int:
    value = value if value.endswith("::") else value.rstrip(":")  # a colon that ends the sentence's clause
    try:
        address = ipaddress.IPv6Address(value)
    except ValueError:
        return 0
    alone = stands_alone(before, after) and before[-1:] != ":" and after[:1] != ":"
    return len(value) if alone and address in _GLOBAL_V6 and address.is_global else 0


IP_ADDRESS = Kind(
    name="ip_address",
    hint=r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]:[0-9A-Fa-f]{0,4}:",
    patterns=(
        Pattern(r"(?P<value>[0-9]{1,3}(?:\.[0-9]{1,3}){3})", _verify_v4),
        Pattern(r"(?P<value>[0-9A-Fa-f]{1,4}(?::[0-9A-Fa-f]{0,4}){2,7})", _verify_v6),
    ),
)
