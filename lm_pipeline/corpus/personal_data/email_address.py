"""E-mail addresses (RFC 5321's dot-string form, in ASCII)."""

from lm_pipeline.corpus.personal_data.kind import Kind, Pattern

# What stands behind an @ in file names and code, and is no top-level domain there.
_FILES = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "css", "js", "ts", "json", "html", "py", "so"})
_SERVICES = frozenset({"git", "hg", "svn"})  # git@github.com is how one clones, nobody's address


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
        or before.endswith(("/", "@"))
        or after.startswith("@")
    )
    return 0 if wrong else len(value)


EMAIL = Kind(
    name="email",
    hint="@",
    patterns=(
        Pattern(
            r"(?P<value>[A-Za-z0-9_][A-Za-z0-9._%+'-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})(?-u:\b)",
            _verify,
        ),
    ),
)
