"""A sentencepiece model as Hugging Face's `tokenizer.json`: for folders of Llama's first kind, which have nothing else.

Ids are sentencepiece's own, which the model was trained with; a file of which that cannot be said is refused. Two
kinds of text differ: where one spells a control token (`</s>`), that token is found, as transformers finds it; and
transformers, told that the class is `LlamaTokenizer`, takes the first of the spaces that a text begins with for the one
that is put before every text. The `tokenizers` library and the conversion of `transformers` are the sources of the
format.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import sentencepiece

from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.tokenization.tokenizer import SPACE_MARK

DECODERS = [
    {"type": "Replace", "pattern": {"String": SPACE_MARK}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
"""How sentencepiece's pieces become text again, in a `tokenizer.json`."""

SENTENCEPIECE_MODEL = "tokenizer.model"
ADDED_TOKENS = "added_tokens.json"
"""Older folders name here what was added to the vocabulary of the model: {token: id}."""

_USER_DEFINED = 4

_PROBE = "  a\u2160  b "
"""What a lossy normaliser would change: spaces at both ends and in a row, a character that stands for another."""


def convert_sentencepiece(folder: Path) -> str:
    """The text of a `tokenizer.json` for the folder's `tokenizer.model` and the tokens that were added to it.

    Raises:
        CorruptArtifactError: the file is no sentencepiece model, or one that adds tokens is damaged.
        InputError: it is not of the kind that Llama has: merges, bytes for what has no piece, spaces kept.
    """
    path = folder / SENTENCEPIECE_MODEL
    proto = path.read_bytes()
    try:
        model = sentencepiece.SentencePieceProcessor(model_proto=proto)
    except RuntimeError as error:
        raise CorruptArtifactError(f"{path} is not a sentencepiece model ({error}).") from error
    pieces = [model.id_to_piece(i) for i in range(model.vocab_size())]
    puts_space = model.normalize("a") == f"{SPACE_MARK}a"
    _check_kind(model, proto, path, puts_space)
    controls = [i for i in range(len(pieces)) if model.is_control(i) or model.is_unknown(i)]
    added = [_added(i, pieces[i], special=True) for i in controls]
    added += [_added(i, token, special=special) for i, token, special in _later_tokens(folder, pieces, controls)]
    prepend = [{"type": "Prepend", "prepend": SPACE_MARK}] * puts_space
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] * puts_space
    merges = _merges(model, path)
    value = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "Sequence",
            "normalizers": [*prepend, {"type": "Replace", "pattern": {"String": " "}, "content": SPACE_MARK}],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [*DECODERS, *strip],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[model.unk_id()],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": merges,
        },
    }
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"


def merges_of(pieces: Sequence[str]) -> list[list[str]]:
    """Sentencepiece merges whatever gives the earliest piece: every way to make a piece is a merge of its rank.

    >>> merges_of(["a", "b", "ab", "aab", "aa"])
    [['a', 'b'], ['a', 'ab'], ['aa', 'b'], ['a', 'a']]
    """
    ids = {piece: index for index, piece in enumerate(pieces)}
    merges = []
    for piece in pieces:
        parts = [[piece[:cut], piece[cut:]] for cut in range(1, len(piece))]
        ways = [pair for pair in parts if pair[0] in ids and pair[1] in ids]
        merges += sorted(ways, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return merges


def _merges(model: Any, path: Path) -> list[list[str]]:
    """Merges from the highest score to the lowest, which need not be the order of ids.

    Of two pieces with one score, sentencepiece makes the one further left in the text. A list of merges cannot say so.
    """
    ids = [i for i in range(model.vocab_size()) if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))]
    ranked = sorted(ids, key=lambda i: -model.get_score(i))
    merges = merges_of([model.id_to_piece(i) for i in ranked])
    made = {left + right for left, right in merges}
    merged = [(model.get_score(i), i, model.id_to_piece(i)) for i in ranked if model.id_to_piece(i) in made]
    for (score, i, piece), (next_score, j, other) in pairwise(merged):
        if score == next_score:
            raise InputError(
                f"{path} cannot be imported: the pieces {piece!r} ({i}) and {other!r} ({j}) have one score, {score:g}."
                " It was extended, and which of them is made depends on where they stand in a text: no tokenizer.json"
                " can say that. If the ids of transformers' conversion are meant, write it with `AutoTokenizer`'s"
                " `save_pretrained`."
            )
    return merges


def _check_kind(model: Any, proto: bytes, path: Path, puts_space: bool) -> None:
    """Refuse what would not come out alike.

    Symbols of the user are found whole, behind the space that is put before the text. An added token of a
    tokenizer.json comes near, but a space is put before each part of a text that such tokens leave.
    """
    declared = [model.id_to_piece(i) for i, kind in enumerate(_piece_types(proto)) if kind == _USER_DEFINED]
    scores = [model.get_score(i) for i in range(model.vocab_size()) if not (model.is_control(i) or model.is_byte(i))]
    kept = _PROBE.replace(" ", SPACE_MARK)
    problems = {
        "it segments by probabilities (unigram), not by merges": any(score != round(score) for score in scores),
        "it has no byte pieces": not any(model.is_byte(i) for i in range(model.vocab_size())),
        f"it has symbols that its user defined ({', '.join(map(repr, declared[:3]))})": bool(declared),
        "it has pieces that are not used": any(model.is_unused(i) for i in range(model.vocab_size())),
        "its normaliser changes texts": model.normalize(_PROBE) != (SPACE_MARK + kept if puts_space else kept),
    }
    found = [problem for problem, is_there in problems.items() if is_there]
    if found:
        raise InputError(
            f"{path} cannot be imported: {'; '.join(found)}. Load the folder with transformers'"
            " `AutoTokenizer.from_pretrained` and `save_pretrained` it, which writes a tokenizer.json."
        )


def _piece_types(proto: bytes) -> list[int]:
    """The type of each piece, from the model as protobuf serializes it: the library does not tell all types.

    Source: `sentencepiece_model.proto`. Field 1 of the model is a piece, field 3 of a piece its type, 1 if not there.
    """
    return [dict(_fields(piece)).get(3, 1) for number, piece in _fields(proto) if number == 1]


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of a serialized message; numbers of a fixed width as bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
            continue
        length = {1: 8, 5: 4}.get(tag & 7) or varint()
        yield tag >> 3, message[at : at + length]
        at += length


def _later_tokens(folder: Path, pieces: list[str], controls: list[int]) -> list[tuple[int, str, bool]]:
    """(id, token, whether it controls) of what was added behind the model's pieces.

    Raises:
        InputError: an id or a token is that of an ordinary piece of the model, or an id before it is missing.
        CorruptArtifactError: a file is damaged.
    """
    found: dict[int, tuple[str, bool]] = {}
    added, config = read_object(folder / ADDED_TOKENS), read_object(folder / "tokenizer_config.json")
    try:
        found.update({int(i): (token, True) for token, i in added.items()})
        for i, token in config.get("added_tokens_decoder", {}).items():
            found[int(i)] = (token["content"], bool(token.get("special")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CorruptArtifactError(
            f"{folder}: {ADDED_TOKENS} is not {{token: id}}, or `added_tokens_decoder` of tokenizer_config.json is not"
            f" {{id: {{content: token}}}} ({error!r})."
        ) from error
    for i, (token, _) in found.items():
        is_control = i in controls and pieces[i] == token
        if not is_control and (i < len(pieces) or token in pieces):
            raise InputError(
                f"{folder} cannot be imported: it adds {token!r} with the id {i}, one of which is a piece's of"
                f" {SENTENCEPIECE_MODEL}. Load it with transformers' `AutoTokenizer.from_pretrained` and"
                " `save_pretrained` it, which writes a tokenizer.json."
            )
    later = sorted(i for i in found if i >= len(pieces))
    is_in_order = later == list(range(len(pieces), len(pieces) + len(later)))
    is_unique = len({found[i][0] for i in later}) == len(later) and len(set(added.values())) == len(added)
    if not (is_in_order and is_unique):
        raise InputError(
            f"{folder} cannot be imported: the tokens that it adds do not have one id each that follow the"
            f" {len(pieces)} pieces of {SENTENCEPIECE_MODEL} without a gap, but {', '.join(map(str, later[:5]))}, and a"
            f" tokenizer.json cannot keep them. Name in {ADDED_TOKENS} what is missing."
        )
    return [(i, *found[i]) for i in later]


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file of a folder of theirs; empty where there is none.

    Raises:
        CorruptArtifactError: it is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise CorruptArtifactError(f"{path} is not JSON ({error}).") from error
    if not isinstance(value, dict):
        raise CorruptArtifactError(f"{path} is not a JSON object.")
    return value


def _added(i: int, content: str, *, special: bool) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": i, "content": content, **flags, "special": special}
