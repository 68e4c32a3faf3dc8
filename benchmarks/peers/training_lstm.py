"""The plain side of the LSTM: `torch.nn.LSTM` in float32, torch's cross-entropy, clipping and fused AdamW."""

import sys

import numpy as np
import torch
from segments import Segments, request_of
from torch import nn


def main() -> None:
    """Train."""
    request = request_of(sys.argv[1])
    training, spec = request["training"], request["model"]
    embedding, cells = (
        nn.Embedding(request["vocab_size"], spec["width"]),
        nn.LSTM(spec["width"], spec["width"], spec["num_layers"], batch_first=True),
    )
    head = nn.Linear(spec["width"], request["vocab_size"])
    head.weight = embedding.weight
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    parts = list(nn.ModuleList([embedding, cells, head]).parameters())
    optimizer = torch.optim.AdamW(parts, lr=training["learning_rate"], betas=tuple(training["betas"]), fused=True)
    segments, state = Segments(request, "float32"), None
    segments.begin()
    for batch in torch.from_numpy(np.load(request["batches"])):
        y, state = cells(embedding(batch[:, :-1]), state)
        state = tuple(part.detach() for part in state)
        loss = nn.functional.cross_entropy(head(y).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parts, training["max_gradient_norm"])
        optimizer.step()
        optimizer.zero_grad()
        segments.step(loss.item())


if __name__ == "__main__":
    main()
