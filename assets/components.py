"""The three nouns as Dagster components: each is checked by its spec and built from the nodes that the spec makes."""

from typing import Any, ClassVar, Self

import dagster as dg
from dagster.components.scaffold.scaffold import scaffold_with
from pydantic import BaseModel

from assets.scaffolding import NounScaffolder
from lm_pipeline.specs import CorpusSpec, DatasetSpec, ExperimentSpec
from lm_pipeline.specs.base import Spec


class _Noun(dg.Component):
    """A declaration whose `attributes` are a spec and whose name is its folder's."""

    spec_class: ClassVar[type[Spec]]

    def __init__(self, name: str, spec: Any) -> None:
        self.name = name
        self.spec = spec

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """The spec: Dagster takes the YAML schema from it."""
        return cls.spec_class

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> Self:
        """Keep the validated spec; the folder is the name."""
        return cls(context.path.parent.name if context.path.is_file() else context.path.name, attributes)


@scaffold_with(NounScaffolder)
class Corpus(_Noun):
    """A body of raw text: where it comes from, how it is read and cleaned. A partition of `corpora`."""

    spec_class = CorpusSpec

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Nothing of its own: all corpora are partitions of the assets in `assets/corpora.py`."""
        return dg.Definitions()


@scaffold_with(NounScaffolder)
class Dataset(_Noun):
    """Corpora made into deduplicated, split, tokenized training data. A group of assets."""

    spec_class = DatasetSpec

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The dataset's assets."""
        from assets.nodes import dataset_definitions

        return dataset_definitions(self.name, self.spec)


@scaffold_with(NounScaffolder)
class Experiment(_Noun):
    """One model trained and evaluated on one dataset. A group of assets, and a schedule if it has one."""

    spec_class = ExperimentSpec

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Nothing of its own: its assets depend on its dataset too, so `assets/definitions.py` makes them."""
        return dg.Definitions()
