"""A tokenizer of a pretrained model: Hugging Face's `tokenizer.json`, as it is, with its own ids.

A folder that has sentencepiece's `tokenizer.model` alone is given one (see `sentencepiece_model`).

Source: the `tokenizers` library, which runs it. Its post-processor is not asked: documents begin with BOS and end with
EOS here, whatever a folder says. What is lossy there stays
lossy: a text may come back changed (BERT's case and spaces).
"""

import itertools
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from lm_pipeline.digests import digest_file
from lm_pipeline.errors import CorruptArtifactError, InputError
from lm_pipeline.tokenization.controls import CONTROLS_FILE, Controls
from lm_pipeline.tokenization.sentencepiece_model import SENTENCEPIECE_MODEL, convert_sentencepiece, read_object
from lm_pipeline.tokenization.tokenizer import SPACE_MARK, Tokenizer, token_dtype

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_FILES = (TOKENIZER_JSON, "tokenizer_config.json", "special_tokens_map.json")
"""What a folder of theirs says about a tokenizer; the first has to be there."""

_ROLES = {"bos": ("bos_token", "cls_token"), "eos": ("eos_token", "sep_token"), "pad": ("pad_token",)}
_USUAL = {"bos": ("<s>", "[CLS]"), "eos": ("</s>", "[SEP]"), "pad": ("<pad>", "[PAD]"), "mask": ("[MASK]", "<mask>")}
"""Names of control tokens where nothing gives them a role."""


class PretrainedTokenizer(Tokenizer):
    """A tokenizer that was not trained here; `Tokenizer` says what each method does.

    Attributes:
        spec: its `tokenizer.json`.
        special: ids that its folder declares to be no text.

    Args:
        path: its `tokenizer.json`; `controls.json` lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self._theirs = _open(path)
        self.controls = Controls.read(path.parent)
        self.is_lossless = False
        self.vocab_size: int = self._theirs.get_vocab_size(with_added_tokens=True)
        self.dtype = token_dtype(self.vocab_size)
        self._pieces = [self._theirs.id_to_token(i) or "" for i in range(self.vocab_size)]
        self.special = {i for i, token in self._theirs.get_added_tokens_decoder().items() if token.special}
        self.spec: dict[str, Any] = json.loads(self._theirs.to_str())
        self._digest = digest_file(path)
        spell, self.is_byte = _spelling(self.spec, self._pieces)
        self.spellings = [b"" if i in self.special else spell(piece) for i, piece in enumerate(self._pieces)]
        self.begins_with_space = _prepends_space(self.spec)

    def encode_utf8(self, data: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts, without BOS and EOS, and where each text's begin."""
        texts = [data[begin:end].tobytes().decode() for begin, end in itertools.pairwise(begins.tolist())]
        found = [item.ids for item in self._theirs.encode_batch(texts, add_special_tokens=False)]
        ids = np.fromiter(itertools.chain.from_iterable(found), np.int32)
        return ids, np.cumsum([0, *map(len, found)], dtype=np.int64)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of ids, without the space that the tokenizer puts before every text."""
        text = super().decode(ids)
        return text.removeprefix(" ") if self.begins_with_space else text

    def piece(self, id: int) -> str:  # noqa: A002 -- the field's word for it
        """How the tokenizer writes an id."""
        return self._pieces[int(id)]

    def score(self, id: int) -> float:  # noqa: A002 -- the field's word for it
        """Minus its rank: other scores are not said by every kind."""
        return -float(id)

    def pieces_digest(self) -> str:
        """Hex SHA-256 of `tokenizer.json`."""
        return self._digest


def import_tokenizer(folder: Path, out: Path) -> dict[str, Any]:
    """Copy the tokenizer of a folder of theirs into `out`, and say which ids control it.

    Returns:
        Summary: algorithm, vocab_size, pieces_digest, controls.

    Raises:
        InputError: there is no tokenizer that can be read, or nothing in it begins or ends a document.
    """
    text = tokenizer_json(folder)
    for name in TOKENIZER_FILES[1:]:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    (out / TOKENIZER_JSON).write_bytes(text)
    theirs = _open(out / TOKENIZER_JSON)
    controls = find_controls(folder, theirs)
    (out / CONTROLS_FILE).write_text(json.dumps(controls.as_json()) + "\n", "utf-8")
    tokenizer = PretrainedTokenizer(out / TOKENIZER_JSON)
    return {
        "algorithm": json.loads(theirs.to_str())["model"]["type"],
        "vocab_size": tokenizer.vocab_size,
        "pieces_digest": tokenizer.pieces_digest(),
        "controls": controls.as_json(),
    }


def tokenizer_json(folder: Path) -> bytes:
    """The folder's `tokenizer.json`, or what it would be for its `tokenizer.model`.

    Raises:
        InputError: there is neither, or one that cannot be read alike.
        CorruptArtifactError: `tokenizer.model` is damaged.
    """
    if (folder / TOKENIZER_JSON).is_file():
        return (folder / TOKENIZER_JSON).read_bytes()
    if (folder / SENTENCEPIECE_MODEL).is_file():
        return convert_sentencepiece(folder).encode()
    raise InputError(
        f"{folder} has no {TOKENIZER_JSON} and no {SENTENCEPIECE_MODEL}. Load it with transformers'"
        " `AutoTokenizer.from_pretrained` and `save_pretrained` it into the folder: that writes one."
    )


def find_controls(folder: Path, tokenizer: Any) -> Controls:
    """Control ids: by the roles that the folder gives to tokens, else by the model's configuration, else by name.

    Raises:
        InputError: nothing begins or ends a document.
    """
    roles: dict[str, Any] = {}
    for name in TOKENIZER_FILES[1:]:
        roles = read_object(folder / name) | roles
    config = read_object(folder / "config.json")
    found: dict[str, int | None] = {}
    for role, names in {**_ROLES, "mask": ("mask_token",)}.items():
        spelt = [token["content"] if isinstance(token, dict) else token for token in map(roles.get, names) if token]
        ids = [tokenizer.token_to_id(token) for token in spelt]
        ids += [config.get(f"{role}_token_id")] if isinstance(config.get(f"{role}_token_id"), int) else []
        ids += [tokenizer.token_to_id(token) for token in _USUAL[role]]
        found[role] = next((i for i in ids if i is not None), None)
    bos, eos = found["bos"], found["eos"]
    bos = eos if bos is None else bos
    eos = bos if eos is None else eos
    if bos is None or eos is None:
        raise InputError(
            f"The tokenizer of {folder} says of no token that it begins or ends a text (bos_token, eos_token)."
        )
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    excluded = ({bos, found["pad"], found["mask"]} | special - {_unknown(tokenizer)}) - {eos, None}
    return Controls(bos, eos, found["pad"], found["mask"], tuple(sorted(i for i in excluded if i is not None)), 0)


def _unknown(tokenizer: Any) -> int | None:
    """What stands in a text for characters without a piece; None where bytes do."""
    model = json.loads(tokenizer.to_str())["model"]
    if model.get("byte_fallback"):
        return None
    return model["unk_id"] if "unk_id" in model else tokenizer.token_to_id(model.get("unk_token") or "")


def _open(path: Path) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise InputError(
            "Tokenizers of pretrained models need the package tokenizers: `pip install 'lm-pipeline[hf]'`."
        ) from error
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise CorruptArtifactError(f"{path} is no tokenizer of Hugging Face's ({error}).") from error


def _parts(spec: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A normalizer, pre-tokenizer or decoder as the list of its parts."""
    part = spec.get(name)
    if part is None:
        return []
    inner = next((part[key] for key in ("normalizers", "pretokenizers", "decoders") if key in part), None)
    return [part] if inner is None else inner


def _prepends_space(spec: dict[str, Any]) -> bool:
    if any(part["type"] == "Prepend" for part in _parts(spec, "normalizer")):
        return True
    for part in _parts(spec, "pre_tokenizer"):
        if part["type"] == "Metaspace" and part.get("prepend_scheme", "always") != "never":
            return True
        if part["type"] == "ByteLevel" and part.get("add_prefix_space"):
            return True
    return any(part["type"] == "WordPiece" for part in _parts(spec, "decoder"))


def _spelling(spec: dict[str, Any], pieces: list[str]) -> tuple[Callable[[str], bytes], np.ndarray]:
    """What a piece adds to a text, as bytes, by the kind of decoder; and which pieces are single bytes."""
    kinds = {part["type"] for part in _parts(spec, "decoder")}
    if "ByteLevel" in kinds:
        table = _byte_characters()
        return lambda piece: _of_characters(piece, table), np.zeros(len(pieces), bool)
    if "WordPiece" in kinds:
        return lambda piece: (piece[2:] if piece.startswith("##") else f" {piece}").encode(), np.zeros(
            len(pieces), bool
        )
    is_byte = np.array([_is_byte(piece) for piece in pieces], bool)
    return (
        lambda piece: bytes([int(piece[3:5], 16)]) if _is_byte(piece) else piece.replace(SPACE_MARK, " ").encode(),
        is_byte,
    )


def _is_byte(piece: str) -> bool:
    return len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">")


def _of_characters(piece: str, table: dict[str, int]) -> bytes:
    if all(character in table for character in piece):
        return bytes(table[character] for character in piece)
    return piece.encode()  # an added token is spelt as it is


def _byte_characters() -> dict[str, int]:
    """The character by which byte-level BPE writes each byte (Radford et al. 2019): itself where it can be seen.

    >>> table = _byte_characters()
    >>> table["a"], table["Ġ"], table["Ċ"], len(table)
    (97, 32, 10, 256)
    """
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + place): byte for place, byte in enumerate(hidden)}
