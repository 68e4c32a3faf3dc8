import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_pipeline.digests import canonical_json, digest_file, digest_of

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_canonical_json_survives_a_round_trip_and_ignores_the_order_of_keys(value):
    def reordered(value):
        if isinstance(value, dict):
            return {key: reordered(value[key]) for key in reversed(value)}
        return [reordered(item) for item in value] if isinstance(value, list) else value

    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(json.loads(text)) == text
    assert canonical_json(reordered(value)) == text
    assert digest_of(reordered(value)) == digest_of(value)


@given(st.dictionaries(st.text(), st.integers(), min_size=1), st.text(), st.integers())
def test_digest_changes_with_any_value(value, key, number):
    changed = {**value, key: number}
    assert (digest_of(changed) == digest_of(value)) == (changed == value)


def test_digest_of_a_value_is_the_same_for_ever():
    text = '{"a":"法","b":[1,2.5,null,true]}'
    value = {"b": [1, 2.5, None, True], "a": "法"}
    assert canonical_json(value) == text
    assert digest_of(value) == hashlib.sha256(text.encode()).hexdigest()


def test_json_has_no_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"loss": float("nan")})


def test_digest_file_is_sha256(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert digest_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
