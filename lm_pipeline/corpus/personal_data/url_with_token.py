"""Addresses that carry a password, an access token, a session or a signature."""

from urllib.parse import parse_qsl, urlsplit

from lm_pipeline.corpus.personal_data.kind import Kind, Pattern

PARAMETERS = frozenset({
    "token", "access_token", "accesstoken", "refresh_token", "id_token", "auth_token", "authtoken", "oauth_token",
    "auth", "authorization", "jwt", "bearer", "ticket", "api_key", "apikey", "api-key", "key", "appkey", "app_key",
    "access_key", "accesskey", "accesskeyid", "secret", "client_secret", "app_secret", "appsecret", "signature", "sig",
    "sign", "hmac", "x-amz-signature", "x-amz-credential", "x-amz-security-token", "x-goog-signature",
    "x-oss-signature", "awsaccesskeyid", "ossaccesskeyid", "sessionid", "session_id", "session", "sid", "phpsessid",
    "jsessionid", "aspsessionid", "password", "passwd", "pwd", "pass", "code", "otp", "reset_token", "invite_token",
})  # fmt: skip
"""Names of query parameters whose values are credentials, in lower case."""
_PASSWORDS = frozenset({"password", "passwd", "pwd", "pass"})
_PLACEHOLDERS = ("your", "xxx", "...", "example", "<", "{", "[", "$", "%7b")


def _verify(value: str, before: str, after: str) -> int:  # noqa: ARG001 - the same interface for every kind
    value = value.rstrip(".,;:!?)]*_~")
    try:
        parts = urlsplit(value)
        credentials = parts.netloc.rpartition("@")[0]
    except ValueError:
        return 0
    if ":" in credentials and _is_real(credentials.partition(":")[2], 1):
        return len(value)
    # `;jsessionid=…` belongs to the path; a fragment may be a query of its own (OAuth's implicit flow).
    queries = "&".join((parts.query, parts.fragment.partition("?")[2] or parts.fragment, parts.path.partition(";")[2]))
    for name, parameter in parse_qsl(queries.replace(";", "&"), max_num_fields=None):
        if name.lower() in PARAMETERS and _is_real(parameter, 4 if name.lower() in _PASSWORDS else 8):
            return len(value)
    return 0


def _is_real(secret: str, least: int) -> bool:
    """Whether it is a value and no word or stand-in: long enough, and with a digit unless it is a password."""
    if len(secret) < least or any(mark in secret.lower() for mark in _PLACEHOLDERS):
        return False
    return least < 8 or any(character in "0123456789" for character in secret)


URL_WITH_TOKEN = Kind(
    name="url_with_token",
    hint=(
        r"(?i)://[^\s/@]{1,64}:[^\s/@]{1,64}@"
        r"|[?&;#](?:[a-z]+[_-])*(?:[a-z]*(?:token|key|keyid|secret|sign|signature|auth|pass|password|passwd)|authorization"
        r"|jwt|bearer|ticket|sig|hmac|credential|[a-z]*sessi?o?n?_?id|session|sid|pwd|code|otp)="
    ),
    patterns=(
        Pattern(
            r"(?P<value>[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s<>\x22'`|\\^\u{3000}-\u{303F}\u{FF00}-\u{FFEF}“”‘’…\p{Han}]+)",
            _verify,
        ),
    ),
    canonical=str,
)
