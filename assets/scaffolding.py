"""`dg scaffold defs assets.Experiment experiments/NAME` writes the same file as `lm-pipeline new experiment NAME`."""

from dagster.components import Scaffolder, ScaffoldRequest

from lm_pipeline.specs.declarations import FILE_NAME
from lm_pipeline.specs.templates import TEMPLATES


class NounScaffolder(Scaffolder):
    """Writes the template of a corpus, dataset or experiment."""

    def scaffold(self, request: ScaffoldRequest) -> None:
        """Write `defs.yaml` into the target folder."""
        noun = request.type_name.rsplit(".", 1)[-1].lower()
        request.target_path.mkdir(parents=True, exist_ok=True)
        text = TEMPLATES[noun].format(name=request.target_path.name, of="python_docs", raw="data/raw")
        (request.target_path / FILE_NAME).write_text(text, "utf-8")
