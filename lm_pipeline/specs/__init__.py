"""Everything a user may write in YAML, as frozen pydantic models. Torch-free."""

from lm_pipeline.specs.corpus import CorpusSpec
from lm_pipeline.specs.dataset import DatasetSpec
from lm_pipeline.specs.experiment import ExperimentSpec

__all__ = ["CorpusSpec", "DatasetSpec", "ExperimentSpec"]
