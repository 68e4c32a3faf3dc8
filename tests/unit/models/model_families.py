"""One small model of each family, and of each form that the specs' fields allow."""

import torch

from lm_pipeline.models.language_model import BIDIRECTIONAL
from lm_pipeline.specs.model import CnnModel, EncoderModel, GruModel, LstmModel, RnnModel, TransformerModel

SPECS = {
    "rnn": RnnModel(num_layers=2, width=16),
    "lstm": LstmModel(num_layers=2, width=16),
    "gru": GruModel(num_layers=2, width=16),
    "cnn": CnnModel(num_layers=3, width=16, kernel_size=3),
    "transformer": TransformerModel(num_layers=2, width=16, num_heads=2),
    "encoder": EncoderModel(num_layers=2, width=16, num_heads=2),
}
VARIANTS = {
    "rnn relu": RnnModel(num_layers=2, width=16, nonlinearity="relu", initialisation="le_2015"),
    "lstm low rank": LstmModel(num_layers=1, width=16, embedding_rank=6, initialisation="zaremba_2014"),
    "gru untied low rank": GruModel(num_layers=2, width=16, embedding_rank=6, tie_embeddings=False),
    "cnn he": CnnModel(num_layers=2, width=16, initialisation="he_2015", output_bias=False),
    "gpt2": TransformerModel(num_layers=2, width=16, num_heads=2, form="gpt2"),
    "llama": TransformerModel(num_layers=2, width=16, num_heads=4, num_kv_heads=2, form="llama"),
    "vaswani": TransformerModel(
        num_layers=2,
        width=16,
        num_heads=2,
        positions="sinusoidal",
        activation="relu",
        norm_position="post",
        final_norm=False,
        initialisation="glorot_2010",
    ),
    "qk norm, wide heads": TransformerModel(num_layers=2, width=16, num_heads=3, head_width=8, qk_norm=True),
    "parallel, no positions": TransformerModel(
        num_layers=2, width=16, num_heads=2, positions="none", parallel_blocks=True, initialisation="nguyen_2019"
    ),
    "albert": TransformerModel(
        num_layers=3, width=16, num_heads=2, share_layers=True, embedding_rank=6, embedding_norm=True, norm_bias=False
    ),
}
CAUSAL = {name: spec for name, spec in (SPECS | VARIANTS).items() if spec.family not in BIDIRECTIONAL}
VOCAB_SIZE = 50
CONTEXT = 12


def tokens(batch_size=3, length=CONTEXT, seed=1):
    return torch.randint(VOCAB_SIZE, (batch_size, length), generator=torch.Generator().manual_seed(seed))
