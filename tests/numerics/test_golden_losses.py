"""Losses of 20 steps of each family on a fixed stream: a changed number is a changed model, loop or plan.

After a deliberate change, run this file with `--capture=no -k losses`, look at what it prints and say in the commit
why the numbers moved. They were made on AVX2, one thread; other CPUs may round otherwise, hence the tolerance.
"""

import numpy as np
import pytest
import torch

from lm_pipeline.specs.model import CnnModel, EncoderModel, GruModel, LstmModel, RnnModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training.beginning import begin
from lm_pipeline.training.job import Job
from lm_pipeline.training.loop import take_step
from lm_pipeline.training.plan import TokenStream

TOLERANCE = 1e-4
SPECS = {
    "rnn": RnnModel(num_layers=2, width=32),
    "lstm": LstmModel(num_layers=2, width=32),
    "gru": GruModel(num_layers=2, width=32),
    "cnn": CnnModel(num_layers=3, width=32, kernel_size=3),
    "transformer": TransformerModel(num_layers=2, width=32, num_heads=4),
    "encoder": EncoderModel(num_layers=2, width=32, num_heads=4),
}
# fmt: off
GOLDEN = {
    "rnn": [
        3.58377, 3.57828, 3.62985, 3.62987, 3.51688, 3.60699, 3.55796, 3.48666, 3.29099, 3.27877,
        3.10829, 3.2353, 2.93182, 2.6385, 2.50984, 2.72132, 2.12562, 3.02111, 2.64509, 2.69952,
    ],
    "lstm": [
        3.60791, 3.62933, 3.73296, 3.75823, 3.76298, 3.80712, 3.859, 3.9073, 3.76748, 3.80391,
        3.76341, 3.75811, 3.7214, 3.43767, 3.40962, 3.49463, 3.28599, 3.74115, 3.47291, 3.60113,
    ],
    "gru": [
        3.61597, 3.6225, 3.71771, 3.73422, 3.70646, 3.73678, 3.73454, 3.7152, 3.4961, 3.56555,
        3.32311, 3.41026, 3.19355, 2.83644, 2.74454, 2.80599, 2.53401, 3.20337, 2.84659, 3.00192,
    ],
    "cnn": [
        3.72484, 3.5, 3.76104, 3.86588, 3.70528, 3.81097, 3.5494, 3.31864, 3.5669, 3.43363,
        3.46112, 3.17462, 3.2429, 3.23926, 2.91518, 2.85561, 2.97471, 2.29891, 2.95065, 1.96793,
    ],
    "transformer": [
        3.73297, 3.39073, 3.59898, 3.68137, 3.51867, 3.47471, 3.17223, 2.81727, 3.05235, 2.912,
        2.90022, 2.58686, 2.64934, 2.68975, 2.36892, 2.36263, 2.37924, 1.97986, 2.50826, 1.65209,
    ],
    "encoder": [
        3.54787, 3.42434, 4.19094, 4.21098, 3.64959, 3.76006, 3.99877, 3.34093, 3.74865, 4.11612,
        3.54097, 3.62594, 3.18669, 3.90717, 4.95943, 3.67538, 3.94145, 3.46992, 3.8639, 3.38287,
    ],
}
# fmt: on


def fixed_stream() -> TokenStream:
    """40 documents of a noisy arithmetic sequence, from integer arithmetic alone."""
    documents = []
    for document in range(40):
        length = 5 + document * 7 % 40
        text = [4 + (document * 11 + 3 * i + (i * i * document) % 3) % 60 for i in range(length)]
        documents.append([1, *text, 2])
    offsets = np.cumsum([0, *map(len, documents)])
    return TokenStream(np.concatenate(documents).astype(np.uint16), offsets, bos_id=1)


class Silent:
    """A reporter for which nothing is news."""

    def info(self, text: str) -> None:
        del text

    def warn(self, text: str) -> None:
        raise AssertionError(text)


@pytest.mark.parametrize("family", SPECS)
def test_losses_are_the_golden_ones(family, tmp_path):
    training = Training(
        num_steps=20,
        batch_size=4,
        context_length=16,
        warmup_steps=5,
        learning_rate=0.01,
        precision="float32",
        num_threads=1,
        device="cpu",
    )
    job = Job(
        SPECS[family], training, 64, fixed_stream(), None, tmp_path, "golden", lambda rows: [str(row) for row in rows]
    )
    session = begin(job, Silent())
    plan = job.plan(job.train, training.seed)
    losses, before, targets = [], 0.0, 0
    for _ in range(20):
        take_step(session, plan, training)
        counters = session.counters
        losses.append((counters.interval_nll - before) / (counters.interval_targets - targets))
        before, targets = counters.interval_nll, counters.interval_targets
    print(f'    "{family}": {[round(loss, 5) for loss in losses]},')
    assert losses == pytest.approx(GOLDEN[family], abs=TOLERANCE)
    assert torch.get_num_threads() == 1
