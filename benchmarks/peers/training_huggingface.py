"""Hugging Face's side of `benchmarks/training.py`: `Trainer` on `LlamaForCausalLM`, batches in a given order."""

import sys

import numpy as np
import torch
from segments import Segments, request_of
from torch.utils.data import Dataset, SequentialSampler
from transformers import LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments


class Windows(Dataset):
    """Rows of the batches, one after the other."""

    def __init__(self, batches) -> None:
        self.rows = torch.from_numpy(batches.reshape(-1, batches.shape[-1]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row):
        targets = self.rows[row, 1:]
        return {"input_ids": self.rows[row, :-1], "labels": targets, "shift_labels": targets}


class InOrder(Trainer):
    """Reads the rows as they come; keeps the loss of each step, which is no work beside a step."""

    last_loss = None

    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)

    def training_step(self, *arguments, **more):
        """As ever; the loss is kept."""
        self.last_loss = super().training_step(*arguments, **more)
        return self.last_loss


class Turns(TrainerCallback):
    """Reports to the segments."""

    def __init__(self, segments) -> None:
        self.segments, self.trainer = segments, None

    def on_train_begin(self, *_, **__) -> None:
        """All is set up."""
        self.segments.begin()

    def on_step_end(self, *_, **__) -> None:
        """A step was done."""
        self.segments.step(float(self.trainer.last_loss))


def main() -> None:
    """Train."""
    request = request_of(sys.argv[1])
    way, training = request["way"], request["training"]
    model = LlamaForCausalLM.from_pretrained(
        request["huggingface"], attn_implementation=way["attention"], dtype=torch.float32
    )
    arguments = TrainingArguments(
        output_dir=request["work_dir"],
        max_steps=sum(request["segments"]),
        per_device_train_batch_size=training["batch_size"],
        learning_rate=training["learning_rate"],
        weight_decay=training["weight_decay"],
        adam_beta1=training["betas"][0],
        adam_beta2=training["betas"][1],
        max_grad_norm=training["max_gradient_norm"],
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        bf16=way["precision"] == "bfloat16",
        torch_compile=way["compile"],
        use_cpu=True,
        logging_steps=10**9,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    turns = Turns(Segments(request, ", ".join(f"{name} {value}" for name, value in way.items())))
    trainer = InOrder(model, arguments, train_dataset=Windows(np.load(request["batches"])), callbacks=[turns])
    turns.trainer = trainer
    trainer.train()


if __name__ == "__main__":
    main()
