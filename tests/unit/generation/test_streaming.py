import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.generation.streaming import stream_text


@settings(deadline=None)
@given(st.text(max_size=40))
def test_streamed_pieces_join_to_the_text_and_are_each_valid_unicode(tokenizer, text):
    pieces = list(stream_text(tokenizer.encode(text).tolist(), tokenizer))
    assert "".join(pieces) == text
    assert all(piece and piece.encode() for piece in pieces)
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@settings(deadline=None)
@given(st.lists(st.integers(4, 303), max_size=30), st.data())
def test_any_tokens_stream_to_what_they_decode_to(tokenizer, tokens, data):
    # Byte tokens that spell no character are the hard case; draw many of them.
    byte_ids = np.flatnonzero(tokenizer.is_byte).tolist()
    tokens = tokens + data.draw(st.lists(st.sampled_from(byte_ids), max_size=30))
    assert "".join(stream_text(tokens, tokenizer)) == tokenizer.decode(tokens)


def test_a_character_in_byte_tokens_comes_out_once_and_whole(tokenizer):
    tokens = tokenizer.encode("龘").tolist()
    assert len(tokens) == 3
    streamed = stream_text(iter(tokens), tokenizer)
    assert list(streamed) == ["龘"]


def test_a_text_that_stops_inside_a_character_ends_in_a_replacement_character(tokenizer):
    assert list(stream_text(tokenizer.encode("a龘").tolist()[:-1], tokenizer))[-1] == "\ufffd"
