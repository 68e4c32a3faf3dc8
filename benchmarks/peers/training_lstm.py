"""The plain side of the LSTM: `torch.nn.LSTM` in float32, torch's cross-entropy, clipping and fused AdamW."""

import math
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
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
    weights = load_file(Path(request["base"]) / "model.safetensors")
    with torch.no_grad():
        embedding.weight.copy_(weights["embedding.weight"])
        head.bias.copy_(weights["output_bias_V"])
    cells.load_state_dict({name: weights[f"backbone.cells.{name}"] for name in cells.state_dict()})
    scale = math.sqrt(spec["width"])  # of embeddings whose matrix is the output layer's too
    parts = list(nn.ModuleList([embedding, cells, head]).parameters())
    groups = [
        {"params": [p for p in parts if p.dim() > 1], "weight_decay": training["weight_decay"]},
        {"params": [p for p in parts if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training["learning_rate"], betas=tuple(training["betas"]), fused=True)
    segments, state = Segments(request, "float32"), None
    segments.begin()
    for batch in torch.from_numpy(np.load(request["batches"])):
        y, state = cells(embedding(batch[:, :-1]) * scale, state)
        state = tuple(part.detach() for part in state)
        loss = nn.functional.cross_entropy(head(y).flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(parts, training["max_gradient_norm"])
        optimizer.step()
        optimizer.zero_grad()
        segments.step(loss.item())


if __name__ == "__main__":
    main()
