"""Sentencepiece tokenizer: trained on the training split alone, lossless on every text.

Source: Kudo & Richardson 2018 (sentencepiece), Kudo 2018 (unigram), Sennrich et al. 2016 (BPE).

Why text survives a round trip byte for byte: the normaliser is the identity, no prefix is added, runs of spaces are
kept, and what has no piece falls back to its UTF-8 bytes. Sentencepiece writes a space as U+2581, so a literal U+2581
in the text is given as its three byte pieces. PAD, BOS, EOS and UNK are control ids that no text can spell.

Pieces may span punctuation and line ends, but begin anew at a space that follows something else. Measured on docstrings
(4096 pieces, unigram): 4.05 bytes a token, against 3.93 when pieces stop at a change of script, 3.74 when the trainer
sees single lines (it strips line ends, which then cost a byte piece each) and 3.40 when pieces may span words; Chinese
prose: 3.62 against 3.53 and 3.49.
"""

import hashlib
import io
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from lm_pipeline.errors import CorruptArtifactError, InputError, MissingArtifactError
from lm_pipeline.specs.dataset import Tokenizer as TokenizerSpec
from lm_pipeline.tokenization.controls import OURS
from lm_pipeline.tokenization.sample import MAX_CHARACTERS, sample_sentences
from lm_pipeline.tokenization.segmentation import Segmentation
from lm_pipeline.tokenization.segments import SegmentMemo
from lm_pipeline.tokenization.stretches import to_utf8

MODEL_FILE = "tokenizer.model"
PIECES_FILE = "pieces.tsv"

PAD, BOS, EOS, UNK = range(4)
"""Control ids. UNK is never produced: byte fallback covers what has no piece."""

SPACE_MARK = "\u2581"
"""What sentencepiece writes for a space."""

_TRAINER_THREADS = 4
"""Fixed, whatever the machine: the count is part of the model's bytes and of the order of sums."""


class Tokenizer:
    """A trained tokenizer.

    Attributes:
        vocab_size: number of ids, control and byte pieces included.
        is_byte: bool[vocab_size], True for the 256 byte pieces.
        dtype: NumPy type of the ids on disk: uint16 where they fit, else int32.
        controls: its control ids.
        is_lossless: whether every text comes back byte for byte.
        begins_with_space: whether a space is put before every text, which `decode` takes away.
        spellings: by id, its UTF-8 bytes (of a byte piece one byte); none for control pieces.
    """

    controls = OURS
    is_lossless = True
    begins_with_space = False

    def __init__(self, model: bytes) -> None:
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.vocab_size: int = self._processor.vocab_size()
        ids = list(range(self.vocab_size))
        self.is_byte = np.array(self._processor.is_byte(ids), bool)
        self.dtype = token_dtype(self.vocab_size)
        kinds = self._processor.is_control(ids), self._processor.is_unknown(ids), self.is_byte.tolist()
        self.spellings = list(map(_spell, self._processor.id_to_piece(ids), *kinds))
        self._memo = self._make_memo()

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Read a model file that `train_tokenizer` wrote.

        Raises:
            MissingArtifactError: there is no such file.
            CorruptArtifactError: it is no sentencepiece model, or its control ids are not ours.
        """
        try:
            model = Path(path).read_bytes()
        except FileNotFoundError:
            raise MissingArtifactError(f"There is no tokenizer at {path}. Materialize the tokenizer first.") from None
        try:
            tokenizer = cls(model)
        except RuntimeError as error:
            raise CorruptArtifactError(f"{path} is not a sentencepiece model ({error}).") from error
        processor = tokenizer._processor
        given = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
        if given != (PAD, BOS, EOS, UNK):
            raise CorruptArtifactError(
                f"{path} has the control ids (pad, bos, eos, unk) = {given}; expected {(PAD, BOS, EOS, UNK)}. Use a"
                " tokenizer that lm_pipeline trained."
            )
        return tokenizer

    def encode(self, text: str) -> np.ndarray:
        """Ids of a text, int32[num_tokens], without BOS and EOS.

        They are the library's, but where 4096 bytes have no border between segments (`tokenization.segments`).

        Raises:
            InputError: the text holds a lone surrogate, which is no Unicode text.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Ids of each text, int32[num_tokens]; the same ids as one call per text.

        Raises:
            InputError: a text holds a lone surrogate, which is no Unicode text.
        """
        ids, begins = self.encode_flat(texts)
        return [ids[begin:end] for begin, end in itertools.pairwise(begins.tolist())]

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of all texts, end to end (int32), and where each text's begin, and the end (int64 [n + 1]).

        Raises:
            InputError: a text holds a lone surrogate, which is no Unicode text.
        """
        encoded = list(map(to_utf8, texts))
        begins = np.cumsum([0, *map(len, encoded)], dtype=np.int64)
        return self.encode_utf8(np.frombuffer(b"".join(encoded), np.uint8), begins)

    def encode_utf8(self, data: np.ndarray, begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `encode_flat`, of texts given as valid UTF-8 (uint8), where each begins, and the end (int64 [n + 1])."""
        return self._memo.encode(data, begins)

    def decode(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of ids; control ids add nothing. The inverse of `encode`, exactly.

        Ids that a model sampled may break off inside a character; such bytes become U+FFFD.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Iterable[int] | np.ndarray) -> bytes:
        """The UTF-8 bytes of ids; for streaming, where a character may be spread over tokens.

        Raises:
            IndexError: an id is not in the vocabulary.
        """
        values = ids.tolist() if isinstance(ids, np.ndarray) else ids
        return b"".join(map(self.spellings.__getitem__, values))

    def piece(self, id: int) -> str:  # noqa: A002 -- the field's word for it
        """How sentencepiece writes an id: `▁the`, `<0x0A>`, `</s>`."""
        return self._processor.id_to_piece(int(id))

    def score(self, id: int) -> float:  # noqa: A002 -- the field's word for it
        """The piece's log probability (unigram) or minus its merge rank (BPE)."""
        return self._processor.get_score(int(id))

    def pieces_digest(self) -> str:
        """Hex SHA-256 over all pieces and scores: equal for equal segmentations, whatever else the file holds."""
        digest = hashlib.sha256()
        for i in range(self.vocab_size):
            digest.update(self.piece(i).encode() + b"\0" + np.float32(self.score(i)).tobytes())
        return digest.hexdigest()

    def _make_memo(self) -> SegmentMemo:
        ids = [i for i, spelling in enumerate(self.spellings) if spelling and not self.is_byte[i] and i != UNK]
        spellings = [self.spellings[i] for i in ids]
        scores = [self._processor.get_score(i) for i in ids]
        by_merges = all(score == round(score) for score in scores)  # ranks; others are logarithms of probabilities
        byte_ids = [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in range(256)]
        segmentation = Segmentation.of(ids, spellings, scores, byte_ids, by_merges=by_merges)
        return SegmentMemo(map(bytes.decode, spellings), segmentation.segment)


def token_dtype(vocab_size: int) -> np.dtype:
    """Type of token ids on disk: uint16 up to 65536 ids, int32 above. A wrong one silently corrupts a token file."""
    return np.dtype(np.uint16 if vocab_size <= 1 << 16 else np.int32)


def _spell(piece: str, is_control: bool, is_unknown: bool, is_byte: bool) -> bytes:
    if is_control:
        return b""
    if is_unknown:
        return "\ufffd".encode()
    if is_byte:
        return bytes([int(piece[3:5], 16)])
    return piece.replace(SPACE_MARK, " ").encode()


def train_tokenizer(texts: Iterable[str], spec: TokenizerSpec, out: Path) -> dict[str, Any]:
    """Train on the texts, in any order, and write `tokenizer.model` and `pieces.tsv` into the folder `out`.

    The result depends on the set of texts and the spec alone. Memory: about `spec.max_training_bytes` and what the
    trainer makes of it.

    Returns:
        Summary: vocab_size, algorithm, pieces_digest, available_bytes, training_bytes, num_sentences, longest pieces.

    Raises:
        InputError: there is no text, or no vocabulary of that size fits it; the text says which size would.
    """
    sample, available_bytes = sample_sentences(texts, spec.max_training_bytes, spec.seed)
    if not sample:
        raise InputError("The training split holds no text to train a tokenizer on. Look at the splits of the dataset.")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sample),
            model_writer=model,
            model_type=spec.algorithm,
            vocab_size=spec.vocab_size,
            hard_vocab_limit=spec.algorithm != "char",  # there are only so many characters
            character_coverage=spec.character_coverage,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_by_unicode_script=False,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            num_threads=_TRAINER_THREADS,
            max_sentence_length=8 * MAX_CHARACTERS,
            seed_sentencepiece_size=max(10_000, 10 * spec.vocab_size),  # less time than 1 000 000, better pieces
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explain(error, spec, sum(len(s.encode()) for s in sample)) from error
    tokenizer = Tokenizer(model.getvalue())
    (out / MODEL_FILE).write_bytes(model.getvalue())
    _write_pieces(tokenizer, out / PIECES_FILE)
    normal = [tokenizer.piece(i) for i in range(UNK + 1, tokenizer.vocab_size) if not tokenizer.is_byte[i]]
    return {
        "algorithm": spec.algorithm,
        "vocab_size": tokenizer.vocab_size,
        "pieces_digest": tokenizer.pieces_digest(),
        "available_bytes": available_bytes,
        "training_bytes": sum(len(s.encode()) for s in sample),
        "num_sentences": len(sample),
        "longest_pieces": sorted(normal, key=lambda piece: (-len(piece), piece))[:20],
    }


def _write_pieces(tokenizer: Tokenizer, path: Path) -> None:
    """One line a piece: id, piece as a JSON string (newlines are escaped), score."""
    lines = ["id\tpiece\tscore"]
    lines += [
        f"{i}\t{json.dumps(tokenizer.piece(i), ensure_ascii=False)}\t{tokenizer.score(i):.9g}"
        for i in range(tokenizer.vocab_size)
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _explain(error: RuntimeError, spec: TokenizerSpec, training_bytes: int) -> InputError:
    message = str(error)
    given = f"tokenizer.vocab_size {spec.vocab_size} ({spec.algorithm}, {training_bytes} bytes of training text)"
    if found := re.search(r"set it to a value <= (\d+)", message):
        return InputError(
            f"{given} is too large: this text yields {found[1]} pieces at most."
            f" Set it to {found[1]} or less, or add text."
        )
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return InputError(
            f"{given} is too small: the control and byte pieces and the characters that character_coverage"
            f" {spec.character_coverage} asks for take {found[1]}. Set it above {found[1]}, or lower"
            " character_coverage."
        )
    return InputError(f"sentencepiece cannot train with {given}: {message}")
