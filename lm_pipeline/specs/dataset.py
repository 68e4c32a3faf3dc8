"""Dataset: which corpora, what counts as a duplicate, how text is split and tokenized."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lm_pipeline.specs.base import Float, Fraction, Int, Spec


class NearDuplicates(Spec):
    """MinHash-LSH candidates, verified by true Jaccard similarity.

    Source: Broder 1997; parameters of FineWeb (14 bands of 8 rows, 5-grams).
    """

    threshold: Fraction = 0.8
    """Jaccard similarity of shingle sets from which two documents are near duplicates."""
    ngram: Int = Field(default=5, ge=1)
    """Shingle length in words (a Han character is a word)."""
    num_bands: Int = Field(default=14, ge=1)
    """LSH bands."""
    rows_per_band: Int = Field(default=8, ge=1)
    """Hashes per band; bands x rows hashes in all."""
    seed: Int = 1
    """Seed of the hash family."""


class Duplicates(Spec):
    """What counts as a duplicate across all corpora of the dataset."""

    exact: bool = True
    """Whether documents with the same normalised text are reduced to one."""
    near: NearDuplicates | None = NearDuplicates()
    """Near-duplicate removal; `null` switches it off."""
    keep: Literal["first", "longest"] = "longest"
    """Which member of a cluster stays: the first by corpus, file and record, or the longest text."""


class Decontamination(Spec):
    """Removes training documents that repeat the dataset's own validation or test text.

    Source: GPT-3's 13-gram rule (Brown et al. 2020, appendix C), per paragraph.
    """

    ngram: Int = Field(default=13, ge=2)
    """Length of the matched n-grams in words (a Han character is a word)."""
    min_overlap: Fraction = 0.5
    """A paragraph is hit when at least this fraction of its n-grams stands in the evaluation text."""


class Split(Spec):
    """Train, validation and test, decided once per group or cluster and kept in a ledger for ever."""

    validation_fraction: Float = Field(default=0.05, gt=0, lt=1)
    """Expected fraction of groups in validation."""
    test_fraction: Float = Field(default=0.05, gt=0, lt=1)
    """Expected fraction of groups in test."""
    seed: Int = 0
    """Seed of the hash that decides; another seed begins another ledger."""

    @model_validator(mode="after")
    def _leave_room_for_training(self) -> "Split":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction {self.validation_fraction} + test_fraction {self.test_fraction} leave nothing to"
                " train on: their sum must be below 1"
            )
        return self


class Tokenizer(Spec):
    """A sentencepiece model trained on the training split alone.

    Source: Kudo 2018 (unigram), Sennrich et al. 2016 (BPE), Kudo & Richardson 2018 (sentencepiece).
    """

    algorithm: Literal["unigram", "bpe"] = "unigram"
    """Segmentation model."""
    vocab_size: Int = Field(default=4096, ge=300, le=1_000_000)
    """Pieces, the 256 byte pieces and the control pieces included."""
    character_coverage: Fraction = 0.9995
    """Fraction of characters that get a piece of their own; the rest falls back to bytes."""
    max_training_bytes: Int = Field(default=32_000_000, ge=1000)
    """Training text is sampled, seeded, down to this many bytes."""
    seed: Int = 0
    """Seed of that sample."""


class DatasetSpec(Spec):
    """Corpora made into deduplicated, split, tokenized training data."""

    description: str = ""
    """What the dataset is for. For people; changing it rebuilds nothing."""
    corpora: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the corpora."""
    duplicates: Duplicates = Duplicates()
    """Duplicate removal."""
    decontamination: Decontamination | None = Decontamination()
    """Decontamination of training text; `null` switches it off."""
    split: Split = Split()
    """Train, validation and test."""
    tokenizer: Tokenizer = Tokenizer()
    """The tokenizer."""

    @model_validator(mode="after")
    def _each_corpus_once(self) -> "DatasetSpec":
        if len(set(self.corpora)) != len(self.corpora):
            raise ValueError(f"corpora names one twice: {list(self.corpora)}")
        return self
