"""Tokenizers as GGUF writes them: ours, and of pretrained ones those kinds that llama.cpp segments alike.

Source: llama.cpp's `convert_hf_to_gguf.py` and `llama-vocab.cpp`. There, a tokenizer is pieces, their kinds, scores or
merges, and two names: the algorithm ("llama" merges by score, "t5" is Viterbi, "gpt2" merges bytes by rank) and, for
bytes, the rule by which a text is cut into words first.
"""

from typing import Any

from lm_pipeline.errors import InputError
from lm_pipeline.tokenization.pretrained import PretrainedTokenizer
from lm_pipeline.tokenization.sentencepiece_model import merges_of
from lm_pipeline.tokenization.tokenizer import SPACE_MARK, Tokenizer

OURS = {"bpe": "llama", "char": "llama", "unigram": "t5"}
"""Our algorithms, and what llama.cpp calls the segmentation that gives the same pieces."""

_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = {
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" + _LETTERS + r"|\p{N}{1,3}|" + _REST: "llama-bpe",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|" + _LETTERS + r"|\p{N}|" + _REST: "qwen2",
}
"""Rules that cut a text into words, as `tokenizer.json` writes them, and their names there. GPT-2's is "gpt-2"."""


def pretrained_kind(tokenizer: PretrainedTokenizer) -> tuple[str, str]:
    """The algorithm and the rule that give the same ids there.

    NFC, which Qwen 2 has, is let through although llama.cpp does not normalise: text that is in NFC, as almost all is,
    has the same ids.

    Raises:
        InputError: none do; the message says what stands in the way.
    """
    spec, model = tokenizer.spec, tokenizer.spec["model"]
    if model["type"] != "BPE":
        raise _refusal(f"its model is {model['type']}, not BPE")
    if model.get("dropout") or model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        raise _refusal("it drops merges, or marks the parts of words")
    if model.get("byte_fallback"):
        _check_sentencepiece(tokenizer)
        return "llama", "default"
    if spec["normalizer"] not in (None, {"type": "NFC"}):
        raise _refusal(f"its normalizer ({spec['normalizer']['type']}) changes texts")
    rule = _word_rule(spec["pre_tokenizer"] or {"type": "none"})
    if model.get("ignore_merges", False) != (rule == "llama-bpe"):
        raise _refusal(f"ignore_merges is {model.get('ignore_merges', False)}, there of {rule} the opposite")
    return "gpt2", rule


def add_trained(writer: Any, types: Any, tokenizer: Tokenizer, algorithm: str) -> None:
    """Write a tokenizer that was trained here."""
    controls = tokenizer.controls
    unknown = next(i for i in controls.excluded if i not in (controls.bos, controls.pad))
    special = {controls.bos, controls.eos, controls.pad}
    _add_pieces(writer, types, tokenizer, special, unknown, OURS[algorithm], "default")
    writer.add_token_scores([tokenizer.score(i) for i in range(tokenizer.vocab_size)])
    writer.add_add_space_prefix(False)
    writer.add_remove_extra_whitespaces(False)


def add_pretrained(writer: Any, types: Any, tokenizer: PretrainedTokenizer) -> None:
    """Write a pretrained model's own.

    Raises:
        InputError: see `pretrained_kind`.
    """
    algorithm, rule = pretrained_kind(tokenizer)
    model = tokenizer.spec["model"]
    unknown = model["vocab"].get(model.get("unk_token") or "")
    _add_pieces(writer, types, tokenizer, tokenizer.special, unknown, algorithm, rule, _whole(tokenizer))
    if algorithm == "llama":
        writer.add_token_scores([tokenizer.score(i) for i in range(tokenizer.vocab_size)])
        writer.add_add_space_prefix(tokenizer.begins_with_space)
        writer.add_remove_extra_whitespaces(False)
    else:
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])


def _add_pieces(
    writer: Any,
    types: Any,
    tokenizer: Tokenizer,
    special: set[Any],
    unknown: int | None,
    algorithm: str,
    rule: str,
    whole: frozenset[int] = frozenset(),
) -> None:
    """What all kinds have: names, pieces and their kinds, control ids.

    Args:
        whole: ids of text that is found whole, as it is written.
    """
    controls = tokenizer.controls
    pieces = [
        piece if algorithm == "gpt2" or i in whole else piece.replace(" ", SPACE_MARK)
        for i, piece in enumerate(map(tokenizer.piece, range(tokenizer.vocab_size)))
    ]
    kinds = [
        types.UNKNOWN
        if i == unknown and algorithm != "gpt2"  # which spells everything in bytes
        else types.CONTROL
        if i in special
        else types.USER_DEFINED
        if i in whole
        else types.BYTE
        if tokenizer.is_byte[i]
        else types.NORMAL
        for i in range(tokenizer.vocab_size)
    ]
    writer.add_tokenizer_model(algorithm)
    writer.add_tokenizer_pre(rule)
    writer.add_token_list([piece.encode() for piece in pieces])
    writer.add_token_types(kinds)
    writer.add_bos_token_id(controls.bos)
    writer.add_eos_token_id(controls.eos)
    if unknown is not None:
        writer.add_unk_token_id(unknown)
    if controls.pad is not None:
        writer.add_pad_token_id(controls.pad)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def _whole(tokenizer: PretrainedTokenizer) -> frozenset[int]:
    """Ids of tokens that were added and are text, as `<tool_call>` is."""
    return frozenset(token["id"] for token in tokenizer.spec["added_tokens"] if not token["special"])


def _check_sentencepiece(tokenizer: PretrainedTokenizer) -> None:
    """Whether merging by the rank of the piece that comes out is what its list of merges says."""
    spec, model = tokenizer.spec, tokenizer.spec["model"]
    normalizer = spec["normalizer"] or {}
    parts = [part["type"] for part in normalizer.get("normalizers", [normalizer])]
    if spec["pre_tokenizer"] is not None or parts not in (["Prepend", "Replace"], ["Replace"]):
        raise _refusal("spaces are marked in another way than by sentencepiece")
    ordinary = [
        tokenizer.piece(i)
        for i in range(tokenizer.vocab_size)
        if i not in tokenizer.special | _whole(tokenizer) and not tokenizer.is_byte[i]
    ]
    merges = [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in model["merges"]]
    if merges != merges_of(ordinary):
        raise _refusal("its merges are not all ways to make its pieces in order, as sentencepiece's are")


def _word_rule(pre: dict[str, Any]) -> str:
    parts = pre["pretokenizers"] if pre["type"] == "Sequence" else [pre]
    *cuts, last = parts
    if last["type"] == "ByteLevel" and not last.get("add_prefix_space"):
        if not cuts and last.get("use_regex", True):
            return "gpt-2"
        if len(cuts) == 1 and cuts[0]["type"] == "Split" and not last.get("use_regex", True):
            cut = cuts[0]
            rule = WORDS.get(cut["pattern"].get("Regex", ""))
            if rule is not None and cut["behavior"] == "Isolated" and not cut.get("invert"):
                return rule
    raise _refusal("its way to cut a text into words (pre_tokenizer) is none of GPT-2's, Llama 3's and Qwen 2's")


def _refusal(reason: str) -> InputError:
    return InputError(
        f"The tokenizer of the pretrained model has no form in GGUF that gives the same ids: {reason}. Export as `hf`,"
        " and convert that folder with llama.cpp's own convert_hf_to_gguf.py."
    )
