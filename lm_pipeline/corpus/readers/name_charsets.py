"""The character sets of the names in an archive that does not declare them.

Archivers write names in their machine's character set. Names that are UTF-8 are told by their bytes. One of the others
is often too short to tell its set; all of these together tell it. A name that is not sound in that is looked at alone.
"""

from lm_pipeline.corpus.readers.charsets import EAST_ASIAN, detect

_SAMPLE_BYTES = 1 << 16
_GROWTH = 1.125  # of the sample, until it is looked at again
_MOST_IN_DOUBT = 3  # characters of a name: of four in GBK, one name in a thousand is UTF-8 by chance


class NameCharsets:
    """What the names of an archive that are known by now say of their character set."""

    def __init__(self) -> None:
        self._sample = bytearray()
        self._num_utf8 = self._num_others = 0
        self._common, self._num_bytes_seen = "utf-8", 0

    def add(self, name: bytes) -> None:
        """Learn from a name."""
        if name.isascii():
            return
        if _is_sound(name, "utf-8"):
            self._num_utf8 += not _is_in_doubt(name)
            return
        self._num_others += 1
        if len(self._sample) <= _SAMPLE_BYTES:
            self._sample += name + b"\n"

    def charset_of(self, name: bytes) -> str:
        """The character set of a name, as Python names it."""
        if len(self._sample) > _GROWTH * self._num_bytes_seen:
            self._common, self._num_bytes_seen = detect([bytes(self._sample)]), len(self._sample)
        is_utf8 = _is_sound(name, "utf-8")
        if is_utf8 and _is_in_doubt(name) and self._common in EAST_ASIAN:
            is_utf8 = self._num_utf8 > self._num_others
        if is_utf8:
            return "utf-8"
        return self._common if _is_sound(name, self._common) else detect([name])


def _is_sound(name: bytes, charset: str) -> bool:
    """Whether a name has characters beyond ASCII, and can be in a character set."""
    try:
        return not name.decode(charset).isascii()
    except UnicodeDecodeError:
        return False


def _is_in_doubt(name: bytes) -> bool:
    """Whether a name in UTF-8 may as well be East Asian: 学习 in GBK is `ѧϰ`, few characters of two bytes each."""
    beyond = [character for character in name.decode("utf-8") if not character.isascii()]
    return len(beyond) <= _MOST_IN_DOUBT and max(beyond) < "\u0800"
