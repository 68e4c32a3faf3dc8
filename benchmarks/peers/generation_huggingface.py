"""Hugging Face's side of `benchmarks/generation.py`: greedy `generate` of an exported model, for each request line."""

import json
import sys
import time

import torch
from transformers import AutoModelForCausalLM


def main() -> None:
    """Answer {"prompts", "new", "threads"} with the tokens and the seconds."""
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        prompts = torch.tensor(request["prompts"])
        begin = time.perf_counter()
        with torch.inference_mode():
            tokens = model.generate(
                prompts,
                attention_mask=torch.ones_like(prompts),
                do_sample=False,
                min_new_tokens=request["new"],
                max_new_tokens=request["new"],
                pad_token_id=0,
                eos_token_id=None,
            )
        seconds = time.perf_counter() - begin
        answer = {"seconds": seconds, "tokens": tokens[:, prompts.shape[1] :].tolist()}
        sys.stdout.write("ANSWER " + json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
