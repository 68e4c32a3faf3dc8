"""Token ids into text piece by piece: a character spelt in several byte tokens is held back until it is whole."""

import codecs
from collections.abc import Iterable, Iterator

from lm_pipeline.tokenization.tokenizer import Tokenizer


def stream_text(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """Text of the tokens, as soon as it is sure.

    Joined, the pieces are `tokenizer.decode` of all tokens; no piece is empty. Bytes that form no character come out
    as U+FFFD, once it is certain that they form none.
    """
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for token in tokens:
        if text := decoder.decode(tokenizer.decode_bytes([token])):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
