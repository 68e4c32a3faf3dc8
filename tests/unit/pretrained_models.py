"""Small models and tokenizers of Hugging Face's own making, saved as its users save theirs."""

import json
from pathlib import Path
from typing import Any

from tests.conftest import chinese_text, english_text

TEXTS = [text(number) for number in range(40) for text in (english_text, chinese_text)]
CONTEXT = 64


def gpt2_tokenizer() -> Any:
    """Byte-level BPE, whose one control token begins and ends a text."""
    import tokenizers
    import transformers

    end = "<|endoftext|>"
    inner = tokenizers.ByteLevelBPETokenizer()
    inner.train_from_iterator(TEXTS, vocab_size=600, special_tokens=[end], show_progress=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner._tokenizer, bos_token=end, eos_token=end, unk_token=end
    )


def llama_tokenizer() -> Any:
    """BPE in sentencepiece's manner: spaces marked, one before the text, bytes for what has no piece."""
    import tokenizers
    import transformers
    from tokenizers import decoders, models, normalizers, trainers

    control = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=control, show_progress=False, max_token_length=12)
    inner.train_from_iterator(TEXTS, trainer)
    spec = json.loads(inner.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]  # bytes are pieces, not controls
    inner = tokenizers.Tokenizer.from_str(json.dumps(spec))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def bert_tokenizer() -> Any:
    """WordPiece, lower case, a character of Chinese a word."""
    import tokenizers
    import transformers

    inner = tokenizers.BertWordPieceTokenizer()
    inner.train_from_iterator(TEXTS, vocab_size=500, show_progress=False)
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "mask", "unk")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner._tokenizer, **roles)


TOKENIZERS = {"gpt2": gpt2_tokenizer, "llama": llama_tokenizer, "bert": bert_tokenizer}


def save_tokenizer(kind: str, folder: Path) -> None:
    """The tokenizer alone."""
    TOKENIZERS[kind]().save_pretrained(folder)


def save_model(kind: str, folder: Path) -> None:
    """A model and its tokenizer, weights spread so that a wrong one shows; GPT-2's has more rows than tokens."""
    import torch
    import transformers

    tokenizer = TOKENIZERS[kind]()
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 72 if kind == "llama" else 64,
        "max_position_embeddings": CONTEXT,
        "vocab_size": len(tokenizer),
    }
    if kind == "gpt2":
        shape = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT, "bos_token_id": 0, "eos_token_id": 0}
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(tokenizer) + 40, **shape))
    elif kind == "llama":
        config = transformers.LlamaConfig(num_key_value_heads=2, bos_token_id=1, eos_token_id=2, **sizes)
        model = transformers.LlamaForCausalLM(config)
    else:
        model = transformers.BertForMaskedLM(transformers.BertConfig(**sizes))
    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
