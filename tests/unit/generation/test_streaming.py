import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.generation.streaming import TextStream


def pieces_of(tokens, tokenizer, stop=()):
    stream = TextStream(tokenizer, stop)
    return [piece for piece in [*(stream.feed(token) for token in tokens), stream.finish()] if piece], stream.stopped


@settings(deadline=None)
@given(st.text(max_size=40))
def test_streamed_pieces_join_to_the_text_and_are_each_valid_unicode(tokenizer, text):
    pieces, _ = pieces_of(tokenizer.encode(text).tolist(), tokenizer)
    assert "".join(pieces) == text
    assert all(piece.encode() for piece in pieces)
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@settings(deadline=None)
@given(st.lists(st.integers(4, 303), max_size=30), st.data())
def test_any_tokens_stream_to_what_they_decode_to(tokenizer, tokens, data):
    # Byte tokens that spell no character are the hard case; draw many of them.
    byte_ids = np.flatnonzero(tokenizer.is_byte).tolist()
    tokens = tokens + data.draw(st.lists(st.sampled_from(byte_ids), max_size=30))
    assert "".join(pieces_of(tokens, tokenizer)[0]) == tokenizer.decode(tokens)


@settings(deadline=None)
@given(st.text("ab中。", max_size=30), st.lists(st.text("ab中。", min_size=1, max_size=4), max_size=3))
def test_text_ends_before_the_stop_string_that_is_complete_first_and_none_of_it_is_streamed(tokenizer, text, stop):
    pieces, stopped = pieces_of(tokenizer.encode(text).tolist(), tokenizer, stop)
    ends = sorted((place + len(string), place) for string in stop if (place := text.find(string)) >= 0)
    assert "".join(pieces) == text[: ends[0][1] if ends else len(text)]
    assert stopped == bool(ends)


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_none(tokenizer):
    stream = TextStream(tokenizer, ["。。。"])
    seen = [stream.feed(token) for token in tokenizer.encode("一。二").tolist()]
    assert "".join(seen) == "一。二"
    assert "" in seen  # the full stop came out with what followed it


def test_a_character_in_byte_tokens_comes_out_once_and_whole(tokenizer):
    tokens = tokenizer.encode("龘").tolist()
    assert len(tokens) == 3
    assert pieces_of(tokens, tokenizer)[0] == ["龘"]


def test_a_text_that_stops_inside_a_character_ends_in_a_replacement_character(tokenizer):
    assert pieces_of(tokenizer.encode("a龘").tolist()[:-1], tokenizer)[0][-1] == "\ufffd"
