"""Batches of the masked-language-model objective: those of another plan, with tokens hidden."""

from lm_pipeline.models.loss import IGNORE
from lm_pipeline.models.masking import mask_tokens
from lm_pipeline.tokenization.controls import OURS, Controls
from lm_pipeline.training.plan import Batch, Plan, Shapes


class MaskedPlan:
    """The batches of a plan that is `bidirectional`; which tokens are hidden is a function of (seed, position)."""

    def __init__(self, plan: Plan, *, fraction: float, vocab_size: int, seed: int, controls: Controls = OURS) -> None:
        self.controls = controls
        self.plan, self.fraction, self.vocab_size, self.seed = plan, fraction, vocab_size, seed

    @property
    def steps_per_epoch(self) -> float:
        """Steps that read every document once."""
        return self.plan.steps_per_epoch

    @property
    def shapes(self) -> Shapes:
        """How batches look."""
        return self.plan.shapes

    def batch(self, position: int) -> Batch:
        """The batch at a position: tokens with some hidden, and those as targets, each at its own place."""
        batch = self.plan.batch(position)
        tokens_BT = batch.inputs_BT
        eligible_BT = batch.targets_BT != IGNORE  # neither padding nor a BOS
        for control in self.controls.excluded:
            eligible_BT &= tokens_BT != control
        inputs_BT, targets_BT = mask_tokens(
            tokens_BT,
            eligible_BT,
            fraction=self.fraction,
            vocab_size=self.vocab_size,
            seed=self.seed,
            step=position,
            controls=self.controls,
        )
        return Batch(inputs_BT, targets_BT, batch.begins, batch.documents_BT)

    def documents(self, position: int) -> list[int]:
        """Numbers of the documents in that batch, in the shard's order."""
        return self.plan.documents(position)
