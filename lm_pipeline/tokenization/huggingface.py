"""Our tokenizer as Hugging Face's `tokenizers` reads it: `tokenizer.json` and `tokenizer_config.json`.

The format is that of `tokenizers` 0.2x; the tests load it with `transformers` and compare ids. One text differs: a
literal U+2581, which there is read as a space.
"""

import json
from pathlib import Path
from typing import Any

from lm_pipeline.tokenization.sentencepiece_model import DECODERS, merges_of
from lm_pipeline.tokenization.tokenizer import BOS, EOS, PAD, SPACE_MARK, UNK, Tokenizer

_ROLES = {"pad_token": PAD, "bos_token": BOS, "eos_token": EOS, "unk_token": UNK}


def export_tokenizer(tokenizer: Tokenizer, algorithm: str, context_length: int, folder: Path) -> None:
    """Write both files.

    Args:
        tokenizer: the tokenizer.
        algorithm: "unigram", "bpe" or "char", as it was trained; single characters are a unigram model's segmentation.
        context_length: tokens that the model reads at most.
        folder: an existing folder.
    """
    pieces = [tokenizer.piece(index) for index in range(tokenizer.vocab_size)]
    control = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    begin = {"SpecialToken": {"id": pieces[BOS], "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    value = {
        "version": "1.0",
        "added_tokens": [{"id": index, "content": pieces[index], **control} for index in sorted(_ROLES.values())],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, text],
            "pair": [begin, text, begin, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {pieces[BOS]: {"id": pieces[BOS], "ids": [BOS], "tokens": [pieces[BOS]]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": DECODERS,
        },
        "model": _bpe(pieces) if algorithm == "bpe" else _unigram(tokenizer, pieces),
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "mask_token": pieces[UNK],
        **{role: pieces[index] for role, index in _ROLES.items()},
    }
    _write(folder / "tokenizer.json", value)
    _write(folder / "tokenizer_config.json", config)


def _unigram(tokenizer: Tokenizer, pieces: list[str]) -> dict[str, Any]:
    scores = [tokenizer.score(index) for index in range(len(pieces))]
    vocabulary = [[piece, score] for piece, score in zip(pieces, scores, strict=True)]
    return {"type": "Unigram", "unk_id": UNK, "vocab": vocabulary, "byte_fallback": True}


def _bpe(pieces: list[str]) -> dict[str, Any]:
    ids = {piece: index for index, piece in enumerate(pieces)}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": pieces[UNK],
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": ids,
        "merges": merges_of(pieces),
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", "utf-8")
