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
        3.55732, 3.8028, 3.85905, 3.77208, 3.57653, 3.37994, 3.29523, 3.1712, 3.10842, 3.09674,
        3.00893, 2.8217, 3.13807, 2.81046, 2.77638, 2.79262, 2.45974, 2.46696, 2.44661, 2.76294,
    ],
    "lstm": [
        3.54759, 3.85059, 3.9116, 3.88921, 3.72062, 3.70155, 3.70162, 3.64554, 3.62584, 3.73022,
        3.53256, 3.52694, 3.72956, 3.59253, 3.61683, 3.639, 3.3449, 3.42591, 3.27518, 3.57554,
    ],
    "gru": [
        3.5483, 3.83157, 3.90676, 3.86172, 3.65392, 3.63181, 3.55408, 3.38056, 3.38771, 3.42414,
        3.15089, 3.04625, 3.31112, 3.13112, 3.00296, 2.95779, 2.67005, 2.78003, 2.67604, 2.92721,
    ],
    "cnn": [
        3.81067, 3.78535, 3.51416, 3.71963, 3.71292, 3.67161, 3.73985, 3.57846, 3.65954, 3.39871,
        3.30758, 3.31961, 3.25436, 2.57587, 2.94734, 2.83411, 2.70819, 2.73709, 2.49053, 2.90392,
    ],
    "transformer": [
        3.79703, 3.73327, 3.32069, 3.45153, 3.47595, 3.31306, 3.30438, 3.09378, 3.07333, 2.79303,
        2.60449, 2.64452, 2.58751, 1.91929, 2.3648, 2.28953, 2.17981, 2.22977, 2.08034, 2.32032,
    ],
    "encoder": [
        3.60653, 3.8498, 3.59094, 3.74159, 3.75888, 3.79532, 3.79682, 3.6966, 5.19167, 4.41441,
        3.3939, 3.65976, 3.62491, 3.57601, 3.92689, 3.87408, 3.97297, 3.63319, 3.37791, 4.34528,
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
