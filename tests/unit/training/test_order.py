import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lm_pipeline.training import order as orders
from lm_pipeline.training.counters import permute
from lm_pipeline.training.order import Order
from lm_pipeline.training.plan import StreamPlan, TokenStream, WindowPlan

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=400).map(np.array)


def listed(lengths: np.ndarray, key: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents and places within them of the whole stream, with the order held."""
    documents = permute(np.arange(len(lengths)), len(lengths), key)
    within = np.concatenate([np.arange(lengths[document]) for document in documents])
    return np.repeat(documents, lengths[documents]), within


@settings(deadline=None)
@given(LENGTHS, st.integers(0, 2**64 - 1), st.sampled_from([(64, 1 << 20), (3, 1 << 20), (1, 7)]), st.data())
def test_every_token_of_every_document_has_one_place(lengths, key, blocks, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "MIN_BLOCK", blocks[0])
        patch.setattr(orders, "MAX_BLOCKS", blocks[1])
        order = Order(len(lengths), lambda documents: lengths[documents], key)
        places = np.array(data.draw(st.permutations(range(int(lengths.sum())))))
        documents, within, ranks = order.locate(places)
    assert order.num_tokens == lengths.sum()
    expected_documents, expected_within = listed(lengths, key)
    assert (documents == expected_documents[places]).all()
    assert (within == expected_within[places]).all()
    assert (permute(ranks, len(lengths), key) == documents).all()
    assert len({*zip(documents.tolist(), within.tolist(), strict=True)}) == lengths.sum()


def test_places_keep_their_shape():
    lengths = np.full(1000, 5)
    order = Order(1000, lambda documents: lengths[documents], 1)
    places = np.arange(4000).reshape(40, 100)
    for whole, flat in zip(order.locate(places), order.locate(places.ravel()), strict=True):
        assert (whole.ravel() == flat).all()


@pytest.mark.parametrize("plan_class", [WindowPlan, StreamPlan])
def test_a_training_goes_on_anywhere_by_one_integer_and_whatever_the_number_of_processes(plan_class):
    """A fresh plan that is asked for one position gives what reading on gives, and so do the shares of processes."""
    offsets = np.concatenate(([0], np.cumsum(np.random.default_rng(0).integers(2, 60, 500))))
    stream = TokenStream(np.arange(offsets[-1], dtype=np.int32), offsets, bos_id=-1)
    plan = plan_class(stream, 8, 16, seed=5)
    num_steps = int(3 * plan.steps_per_epoch)
    read_on = [plan.batch(position) for position in range(num_steps)]
    for position in np.random.default_rng(1).integers(0, num_steps, 20).tolist():
        again = plan_class(stream, 8, 16, seed=5).batch(position)
        assert again.inputs_BT.equal(read_on[position].inputs_BT)
        for world_size in (1, 2, 4):
            shares = [share.inputs_BT for share in again.split(world_size)]
            assert torch.cat(shares).equal(read_on[position].inputs_BT)


MEASURE = """
import re, sys
import numpy as np
from pathlib import Path
from lm_pipeline.training.order import Order

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

def lengths_of(documents):
    return 2 + documents % 97

Order(100_000, lengths_of, 0)
before = resident()
order = Order(int(sys.argv[1]), lengths_of, 3)
order.locate(np.arange(100_000))
print(order.num_tokens, resident() - before)
"""


@pytest.mark.parametrize("num", [2_000_000, pytest.param(100_000_000, marks=pytest.mark.slow)])
def test_the_order_of_very_many_documents_takes_a_few_megabytes(num):
    done = subprocess.run([sys.executable, "-c", MEASURE, str(num)], check=True, capture_output=True, text=True)
    num_tokens, megabytes = done.stdout.split()
    whole, rest = divmod(num, 97)
    assert int(num_tokens) == 2 * num + whole * sum(range(97)) + sum(range(rest))
    assert float(megabytes) < 32  # 48 and 2400 where it is held
