"""Small models and tokenizers of Hugging Face's own making, saved as its users save theirs."""

from pathlib import Path

from tests.conftest import chinese_text, english_text

TEXTS = [text(number) for number in range(40) for text in (english_text, chinese_text)]
CONTEXT = 64


def save_gpt2(folder: Path) -> None:
    """A byte-level BPE tokenizer whose one control token begins and ends a text, as GPT-2's."""
    import tokenizers
    import transformers

    inner = tokenizers.ByteLevelBPETokenizer()
    inner.train_from_iterator(TEXTS, vocab_size=600, special_tokens=["<|endoftext|>"], show_progress=False)
    end = "<|endoftext|>"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner._tokenizer, bos_token=end, eos_token=end, unk_token=end
    )
    config = transformers.GPT2Config(
        vocab_size=640, n_embd=32, n_layer=2, n_head=4, n_positions=CONTEXT, bos_token_id=0, eos_token_id=0
    )
    _save(transformers.GPT2LMHeadModel(config), tokenizer, folder)


def save_llama(folder: Path) -> None:
    """A BPE tokenizer in sentencepiece's manner: spaces marked, one before the text, bytes for what has no piece."""
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
    data = inner.to_str()
    import json

    spec = json.loads(data)
    spec["added_tokens"] = spec["added_tokens"][:3]  # bytes are pieces, not controls
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(spec)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=72,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
    )
    _save(transformers.LlamaForCausalLM(config), tokenizer, folder)


def save_bert(folder: Path) -> None:
    """WordPiece, lower case, a character of Chinese a word."""
    import tokenizers
    import transformers

    inner = tokenizers.BertWordPieceTokenizer()
    inner.train_from_iterator(TEXTS, vocab_size=500, show_progress=False)
    roles = {f"{role}_token": f"[{role.upper()}]" for role in ("cls", "sep", "pad", "mask", "unk")}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner._tokenizer, **roles)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
    )
    _save(transformers.BertForMaskedLM(config), tokenizer, folder)


def _save(model, tokenizer, folder: Path) -> None:
    """With weights spread so that a wrong one shows."""
    import torch

    draw = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=draw)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


SAVE = {"gpt2": save_gpt2, "llama": save_llama, "bert": save_bert}
