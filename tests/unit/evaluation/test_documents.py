import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.errors import InputError
from lm_pipeline.evaluation.documents import SplitDocuments
from lm_pipeline.tokenization.shard_writing import write_shards
from lm_pipeline.tokenization.tokenizer import BOS, EOS


def test_documents_of_a_split_are_whole(shards_dir, tokenizer):
    documents = SplitDocuments.read(shards_dir, "test")
    assert len(documents) == 4
    for index in range(4):
        tokens = documents.tokens(index)
        assert (tokens[0], tokens[-1]) == (BOS, EOS)
        assert len(tokenizer.decode(tokens).encode()) == documents.table["num_bytes"][index]


def test_max_documents_takes_the_first_ones(shards_dir):
    documents = SplitDocuments.read(shards_dir, "test", max_documents=3)
    assert (
        documents.table["document_id"].to_list()
        == SplitDocuments.read(shards_dir, "test").table["document_id"][:3].to_list()
    )


def test_an_empty_split_is_refused_with_what_to_do(tokenizer, tmp_path):
    write_shards(iter([]), tokenizer, tmp_path)
    with pytest.raises(InputError, match=r"test split in .* has no documents.*larger `split: test_fraction:`"):
        SplitDocuments.read(tmp_path, "test")


@settings(deadline=None)
@given(st.integers(1, 400))
def test_groups_cover_every_document_once_and_keep_to_the_size(shards_dir, max_tokens):
    documents = SplitDocuments.read(shards_dir, "train")
    lengths = documents.table["num_tokens"].to_numpy()
    groups = list(documents.groups(max_tokens))
    assert [index for first, last in groups for index in range(first, last)] == list(range(len(documents)))
    assert all(last - first == 1 or np.sum(lengths[first:last]) <= max_tokens for first, last in groups)
