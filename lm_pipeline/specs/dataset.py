"""Dataset: which corpora, what counts as a duplicate, how text is split and tokenized."""

from typing import Annotated, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from lm_pipeline.specs.base import Float, Fraction, Int, Seed, Spec
from lm_pipeline.specs.pretrained import Pretrained, kind_of_tokenizer


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
    seed: Seed = 1
    """Seed of the hash family."""


class RepeatedText(Spec):
    """Lines or paragraphs that stood in an earlier document already: menus, footers, disclaimers.

    Each stays in the first document that has it and is taken out of all later ones; characters are counted.
    """

    unit: Literal["line", "paragraph"] = "paragraph"
    """What is compared: a line, or a run of lines between empty lines."""
    min_words: Int = Field(default=5, ge=1)
    """Shorter units always stay (a Han character is a word)."""


class Duplicates(Spec):
    """What counts as a duplicate across all corpora of the dataset."""

    exact: bool = True
    """Whether documents with the same normalised text, and the same target where they have one, are reduced to one."""
    near: NearDuplicates | None = NearDuplicates()
    """Near-duplicate removal; `null` switches it off."""
    keep: Literal["first", "oldest", "longest", "best_score"] = "longest"
    """Which member of a cluster stays: the first by corpus, file and record; the one with the earliest date (those
    without one after all others); the longest text; or the one that the quality model scores best."""
    repeated: RepeatedText | None = None
    """Lines or paragraphs that repeat those of other documents; `null` leaves them."""


class Decontamination(Spec):
    """Removes training documents that repeat evaluation text: the dataset's own validation and test, and `against`.

    Source: GPT-3's 13-gram rule (Brown et al. 2020, appendix C): one shared n-gram is enough, unless it is a common
    phrase.
    """

    ngram: Int = Field(default=13, ge=2)
    """Length of the matched n-grams in words."""
    ngram_characters: Int = Field(default=20, ge=2)
    """Length of n-grams that are mostly Han or Kana, in characters: 13 English words are about 20 of them."""
    max_documents: Int = Field(default=10, ge=0)
    """An n-gram, or an evaluation document shorter than two of them, of more training documents than this is a common
    phrase, and no hit by itself; with 0 nothing is."""
    min_overlap: Fraction = 0.5
    """From this fraction on of the n-grams of an evaluation document, or of a paragraph, common phrases are a hit."""
    against: tuple[str, ...] = ()
    """Further corpora whose text must not be trained on, such as benchmarks: all their documents, whatever their
    filters say. They are not part of the dataset."""

    @model_validator(mode="after")
    def _check_lengths(self) -> "Decontamination":
        if self.ngram_characters < self.ngram:
            raise ValueError(
                f"ngram_characters {self.ngram_characters} is below ngram {self.ngram}: a character says less than a"
                " word, so the n-grams of characters must not be the shorter ones"
            )
        return self


class Split(Spec):
    """Train, validation and test, decided once per group or cluster and kept in a ledger for ever."""

    validation_fraction: Float = Field(default=0.05, gt=0, lt=1)
    """Expected fraction of groups in validation."""
    test_fraction: Float = Field(default=0.05, gt=0, lt=1)
    """Expected fraction of groups in test."""
    seed: Seed = 0
    """Seed of the hash that decides; another seed begins another ledger."""

    @model_validator(mode="after")
    def _leave_room_for_training(self) -> "Split":
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"validation_fraction {self.validation_fraction} + test_fraction {self.test_fraction} leave nothing to"
                " train on: their sum must be below 1"
            )
        return self


class QualityModel(Spec):
    """A classifier of good and bad text, trained by the pipeline on corpora that serve as examples.

    Source: fastText (Joulin et al. 2016): hashed n-grams of words, one logistic layer.
    """

    good: Annotated[tuple[str, ...], Field(min_length=1)]
    """Corpora of the kind of text that is wanted. They need not be part of the dataset."""
    bad: Annotated[tuple[str, ...], Field(min_length=1)]
    """Corpora of the kind that is not."""
    min_score: Fraction | None = None
    """Documents below are excluded as `low_quality`; `null` scores them only. 0 to 1."""
    seed: Seed = 0
    """Seed of the sample and of the order of training."""


class Packing(Spec):
    """How documents become windows of training."""

    mask_documents: bool = False
    """Whether a position sees only its own document: attention is masked and recurrent state reset at borders."""


class Tokenizer(Spec):
    """A sentencepiece model trained on the training split alone.

    Source: Kudo 2018 (unigram), Sennrich et al. 2016 (BPE), Kudo & Richardson 2018 (sentencepiece).
    """

    tag: ClassVar[str] = "own"
    """Which member of a union it is."""

    algorithm: Literal["unigram", "bpe", "char"] = "unigram"
    """Segmentation model; `char` has one piece per character."""
    vocab_size: Int = Field(default=4096, ge=300, le=1_000_000)
    """Pieces, the 256 byte pieces and the control pieces included; of `char`, the most there may be."""
    character_coverage: Fraction = 0.9995
    """Fraction of characters that get a piece of their own; the rest falls back to bytes."""
    max_training_bytes: Int = Field(default=32_000_000, ge=1000)
    """Training text is sampled, seeded, down to this many bytes."""
    seed: Seed = 0
    """Seed of that sample."""


class DatasetSpec(Spec):
    """Corpora made into deduplicated, split, tokenized training data."""

    description: str = ""
    """What the dataset is for. For people; changing it rebuilds nothing."""
    corpora: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of the corpora."""
    weights: dict[str, Float] = Field(default_factory=dict)
    """Share of the training tokens by corpus, relative to each other; all corpora or none must be named. Empty: every
    corpus by its size, each document once an epoch."""
    duplicates: Duplicates = Duplicates()
    """Duplicate removal."""
    quality: QualityModel | None = None
    """A model-based quality score; `null` has none."""
    decontamination: Decontamination | None = Decontamination()
    """Decontamination of training text; `null` switches it off."""
    split: Split = Split()
    """Train, validation and test."""
    tokenizer: Annotated[
        Annotated[Tokenizer, Tag("own")] | Annotated[Pretrained, Tag("pretrained")], Discriminator(kind_of_tokenizer)
    ] = Tokenizer()
    """The tokenizer: trained here, or that of a pretrained model."""
    packing: Packing = Packing()
    """Whether windows of training cross the borders of documents."""

    @model_validator(mode="after")
    def _check_roles(self) -> "DatasetSpec":
        if self.duplicates.keep == "best_score" and self.quality is None:
            raise ValueError("duplicates.keep is best_score, but there is no `quality` model that gives scores")
        inside = sorted(set(self.corpora) & set(self.decontamination.against if self.decontamination else ()))
        if inside:
            raise ValueError(
                f"decontamination.against names {inside}, which are corpora of the dataset itself; its validation and"
                " test splits are always searched for. Take them out of `against`, or out of `corpora`"
            )
        if self.quality and (both := sorted(set(self.quality.good) & set(self.quality.bad))):
            raise ValueError(f"quality.good and quality.bad both name {both}; a corpus can be an example of one kind")
        return self

    @model_validator(mode="after")
    def _each_corpus_once(self) -> "DatasetSpec":
        if twice := [name for name in dict.fromkeys(self.corpora) if self.corpora.count(name) > 1]:
            raise ValueError(f"corpora names {', '.join(twice)} more than once; name each once, `weights` repeats it")
        if self.weights and set(self.weights) != set(self.corpora):
            raise ValueError(f"weights names {sorted(self.weights)}; expected every corpus of {list(self.corpora)}")
        if any(weight <= 0 for weight in self.weights.values()):
            raise ValueError(f"weights must be above 0, got {self.weights}")
        return self
