"""What is to be trained, on what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lm_pipeline.models.language_model import BIDIRECTIONAL, RECURRENT, NeuralSpec
from lm_pipeline.specs.model import EncoderModel
from lm_pipeline.specs.training import Training
from lm_pipeline.tokenization.controls import OURS, Controls
from lm_pipeline.training.masked_plan import MaskedPlan
from lm_pipeline.training.mixture import Mixture
from lm_pipeline.training.plan import Plan, TokenStream, make_plan
from lm_pipeline.training.row_plan import RowPlan
from lm_pipeline.training.saved import CHECKPOINTS

CURVE, SNAPSHOTS = "curve.jsonl", "snapshots"


@dataclass(frozen=True)
class Job:
    """A training as one process is told of it.

    Attributes:
        spec: the model.
        training: the loop's settings.
        vocab_size: pieces.
        train: training documents.
        validation: validation documents; None where the split is empty.
        work_dir: checkpoints and the learning curve; a later process with the same job goes on from there.
        key: names the job; a `work_dir` with another job's state is refused.
        name_documents: corpus, file, record and id of document numbers, for errors.
        base: folder of the trained model whose weights this one begins with; None begins anew.
        mixture: shares of corpora in the training; None reads every document once an epoch.
        mask_documents: whether no token of a window sees another document.
        controls: control ids of the tokenizer.
        measurements: where measurements of the machine are kept; None keeps them in `work_dir`.
    """

    spec: NeuralSpec
    training: Training
    vocab_size: int
    train: TokenStream
    validation: TokenStream | None
    work_dir: Path
    key: str
    name_documents: Callable[[Sequence[int]], list[str]]
    mixture: Mixture | None = None
    mask_documents: bool = False
    measurements: Path | None = None
    base: Path | None = None
    controls: Controls = OURS

    @property
    def checkpoints(self) -> Path:
        """Folder of saved states."""
        return self.work_dir / CHECKPOINTS

    @property
    def snapshots(self) -> Path:
        """Folder of copies of the weights that are published."""
        return self.work_dir / SNAPSHOTS

    @property
    def curve(self) -> Path:
        """The learning curve."""
        return self.work_dir / CURVE

    def plan(self, stream: TokenStream, seed: int) -> Plan:
        """The order in which a stream is read, and for an encoder what is hidden of it."""
        training, mixture = self.training, self.mixture if stream is self.train else None
        bidirectional = self.spec.family in BIDIRECTIONAL
        if training.batching == "length_buckets":
            plan = RowPlan(
                stream,
                batch_size=training.batch_size,
                context_length=training.context_length,
                seed=seed,
                num_buckets=training.num_buckets,
                mixture=mixture,
                bidirectional=bidirectional,
            )
        else:
            plan = make_plan(
                stream,
                carries_state=self.spec.family in RECURRENT,
                batch_size=training.batch_size,
                context_length=training.context_length,
                seed=seed,
                mixture=mixture,
                mask_documents=self.mask_documents,
                bidirectional=bidirectional,
            )
        if not isinstance(self.spec, EncoderModel):
            return plan
        return MaskedPlan(
            plan, fraction=self.spec.mask_fraction, vocab_size=self.vocab_size, seed=seed, controls=self.controls
        )
