"""A small synthetic corpus, tiny models of every family, and one thread."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lm_pipeline.models.language_model import NeuralSpec, build_model, lora_of, published_spec
from lm_pipeline.models.storage import save_model
from lm_pipeline.specs.model import CnnModel, EncoderModel, GruModel, Lora, LstmModel, RnnModel, TransformerModel
from lm_pipeline.specs.training import Training
from lm_pipeline.training.job import Job
from lm_pipeline.training.plan import TokenStream
from lm_pipeline.training.progress import Reporter

VOCAB_SIZE = 40
SPECS = {
    "rnn": RnnModel(num_layers=2, width=16, dropout=0.1),
    "lstm": LstmModel(num_layers=2, width=16, dropout=0.1),
    "gru": GruModel(num_layers=2, width=16, dropout=0.1),
    "cnn": CnnModel(num_layers=2, width=16, kernel_size=3, dropout=0.1),
    "transformer": TransformerModel(num_layers=2, width=16, num_heads=2, dropout=0.1),
    "encoder": EncoderModel(num_layers=2, width=16, num_heads=2, dropout=0.1, mask_fraction=0.3),
}

FORMS = {
    "rnn relu": RnnModel(width=16, nonlinearity="relu", initialisation="le_2015", dropout=0.1),
    "lstm, every dropout": LstmModel(
        width=16, dropout=0.1, variational_dropout=True, embedding_dropout=0.1, weight_drop=0.2
    ),
    "gpt2": TransformerModel(form="gpt2", width=16, num_heads=2, dropout=0.1),
    "llama": TransformerModel(form="llama", width=16, num_heads=4, num_kv_heads=2, dropout=0.1),
    "albert": EncoderModel(width=16, num_heads=2, dropout=0.1, share_layers=True, embedding_rank=8),
    "transformer, adapted": TransformerModel(width=16, num_heads=2, lora=Lora(rank=2, dropout=0.1)),
    "encoder, adapted": EncoderModel(width=16, num_heads=2, dropout=0.1, lora=Lora(rank=2, targets=("qkv", "down"))),
}
"""What else a spec can make of a family."""


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=SPECS)
def family(request) -> str:
    """Each neural family in turn."""
    return request.param


@pytest.fixture(params=SPECS | FORMS)
def form(request) -> str:
    """Each neural family in turn, and its forms."""
    return request.param


def synthetic_stream(num_documents: int = 30, seed: int = 0) -> TokenStream:
    """Documents `BOS t1..tn EOS` whose tokens follow a noisy cycle, so that there is something to learn."""
    random = np.random.default_rng(seed)
    documents = []
    for _ in range(num_documents):
        length = int(random.integers(3, 40))
        text = 4 + (random.integers(0, 36) + np.arange(length) + (random.random(length) < 0.1)) % 36
        documents.append(np.concatenate(([1], text, [2])))
    offsets = np.concatenate(([0], np.cumsum([len(document) for document in documents])))
    return TokenStream(np.concatenate(documents).astype(np.uint16), offsets, bos_id=1)


@pytest.fixture(scope="session")
def make_stream() -> Callable[..., TokenStream]:
    """`synthetic_stream`."""
    return synthetic_stream


@pytest.fixture(scope="session")
def make_job(tmp_path_factory) -> Callable[..., Job]:
    """Builds a job of a family or form in a folder; keyword arguments are settings of the training."""
    measurements = tmp_path_factory.mktemp("measurements")

    def base_of(spec: NeuralSpec) -> Path:
        """The model that an adapted one begins with."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = build_model(published_spec(spec), VOCAB_SIZE, 8)
        folder = tmp_path_factory.mktemp("base")
        save_model(model.state_dict(), {"model": published_spec(spec).model_dump(mode="json")}, folder)
        return folder

    def make(family: str, work_dir: Path, **settings) -> Job:
        defaults = {
            "num_steps": 12,
            "batch_size": 4,
            "context_length": 8,
            "warmup_steps": 3,
            "validation_interval": 4,
            "validation_batches": 3,
            "checkpoint_interval": 5,
            "log_interval": 2,
            "precision": "float32",
            "num_threads": 1,
            "learning_rate": 0.01,
        }
        spec = (SPECS | FORMS)[family]
        return Job(
            spec=spec,
            training=Training(**defaults | settings),
            vocab_size=VOCAB_SIZE,
            train=synthetic_stream(),
            validation=synthetic_stream(8, seed=1),
            work_dir=work_dir,
            key="job",
            name_documents=lambda rows: [f"document-{row}" for row in rows],
            measurements=measurements,
            base=None if lora_of(spec) is None else base_of(spec),
        )

    return make


class Listener(Reporter):
    """Keeps what a training says instead of printing it."""

    def __init__(self) -> None:
        super().__init__(num_steps=0)
        self.lines: list[str] = []
        self.at_point: Callable[[int], None] | None = None

    def _print(self, text: str) -> None:
        self.lines.append(text)

    def point(self, step, values, seconds_per_step=None):
        if self.at_point is not None:
            self.at_point(step)
        super().point(step, values, seconds_per_step)


@pytest.fixture
def listener() -> Listener:
    """A reporter whose lines can be read and whose `at_point` can interfere."""
    return Listener()
