from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.corpus.readers.encodings import transcoded


@given(st.text(max_size=30), st.integers(1, 5), st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]))
def test_utf16_and_utf32_become_utf8_however_it_is_chunked(text: str, size: int, encoding: str):
    data = ("\ufeff" + text).encode(encoding)
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    assert b"".join(transcoded(chunks, encoding)).decode() == text
