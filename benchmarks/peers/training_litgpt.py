"""litgpt's side of `benchmarks/training.py`: its model and loss under Lightning Fabric, as in its `pretrain`."""

import sys
from pathlib import Path

import lightning
import numpy as np
import torch
from litgpt import GPT, Config
from litgpt.utils import chunked_cross_entropy
from safetensors.torch import load_file
from segments import Segments, request_of


def weights_of(folder: Path, num_layers: int):
    """The exported Llama, under litgpt's names."""
    theirs = load_file(folder / "model.safetensors")
    ours = {
        "transformer.wte.weight": theirs["model.embed_tokens.weight"],
        "transformer.ln_f.weight": theirs["model.norm.weight"],
        "lm_head.weight": theirs["lm_head.weight"],
    }
    for layer in range(num_layers):
        source, target = f"model.layers.{layer}.", f"transformer.h.{layer}."
        qkv = [theirs[f"{source}self_attn.{part}_proj.weight"] for part in "qkv"]
        ours[f"{target}attn.qkv.weight"] = torch.cat(qkv)
        for name, same in {
            "norm_1": "input_layernorm",
            "norm_2": "post_attention_layernorm",
            "attn.proj": "self_attn.o_proj",
            "mlp.fc_1": "mlp.gate_proj",
            "mlp.fc_2": "mlp.up_proj",
            "mlp.proj": "mlp.down_proj",
        }.items():
            ours[f"{target}{name}.weight"] = theirs[f"{source}{same}.weight"]
    return ours


def main() -> None:
    """Train."""
    request = request_of(sys.argv[1])
    way, training, spec = request["way"], request["training"], request["model"]
    width = spec["width"]
    fabric = lightning.Fabric(
        accelerator="cpu", devices=1, precision="bf16-mixed" if way["precision"] == "bfloat16" else "32-true"
    )
    config = Config(
        block_size=training["context_length"],
        vocab_size=request["vocab_size"],
        padded_vocab_size=request["vocab_size"],
        n_layer=spec["num_layers"],
        n_head=spec["num_heads"],
        n_embd=width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=1e-5,
        mlp_class_name="LLaMAMLP",
        intermediate_size=round(8 / 3 * width),
    )
    model = GPT(config)
    missing = model.load_state_dict(weights_of(Path(request["huggingface"]), config.n_layer), strict=False)
    assert not missing.unexpected_keys, missing
    assert all("cos" in name or "sin" in name for name in missing.missing_keys), missing
    if way["compile"]:
        model = torch.compile(model)
    model = fabric.setup(model)
    parts = list(model.parameters())
    groups = [
        {"params": [p for p in parts if p.dim() > 1], "weight_decay": training["weight_decay"]},
        {"params": [p for p in parts if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training["learning_rate"], betas=tuple(training["betas"]), fused=True)
    optimizer = fabric.setup_optimizers(optimizer)
    segments = Segments(request, ", ".join(f"{name} {value}" for name, value in way.items()))
    segments.begin()
    for batch in torch.from_numpy(np.load(request["batches"])):
        loss = chunked_cross_entropy(model(batch[:, :-1]), batch[:, 1:])
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=training["max_gradient_norm"])
        optimizer.step()
        optimizer.zero_grad()
        segments.step(loss.item())


if __name__ == "__main__":
    main()
