"""Token ids into text piece by piece, up to a stop string.

A character spelt in several byte tokens is held back until it is whole, and what may be the beginning of a stop string
until it is clear that it is none.
"""

import codecs
from collections.abc import Sequence

from lm_pipeline.tokenization.tokenizer import Tokenizer


class TextStream:
    """The text of one continuation.

    Joined, what `feed` and `finish` return is the text of all tokens, cut off before the first stop string: of a text
    that begins, `tokenizer.decode` of them; of one that goes on, that with the space which belongs before a word.
    Bytes that form no character come out as U+FFFD, once it is certain that they form none.

    Args:
        tokenizer: spells the tokens.
        stop: strings that end the text; the one that is complete first counts.
        begins: whether nothing stands before the tokens, so that a space which the tokenizer puts before every text
            is none of this one.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), *, begins: bool = False) -> None:
        self._tokenizer = tokenizer
        self._drops_space = begins and tokenizer.begins_with_space
        self._stop = tuple(stop)
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """Text that this token makes certain; often empty. After a stop string nothing more comes."""
        return self._release(self._decoder.decode(self._tokenizer.decode_bytes([token])), last=False)

    def finish(self) -> str:
        """What was held back, at the end of the text."""
        return self._release(self._decoder.decode(b"", final=True), last=True)

    def _release(self, text: str, *, last: bool) -> str:
        if self.stopped:
            return ""
        if text and self._drops_space:
            text, self._drops_space = text.removeprefix(" "), False
        self._held += text
        found = [(place + len(stop), place) for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            sure = min(found)[1]
        else:
            sure = len(self._held) - (0 if last else self._possible_beginning())
        released, self._held = self._held[:sure], self._held[sure:]
        return released

    def _possible_beginning(self) -> int:
        """Length of the longest end of what is held that a stop string begins with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stop):
                return length
        return 0
