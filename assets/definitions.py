"""The code location: what the YAML below `assets/defs` and `LM_PIPELINE_DEFS` declares, as Dagster definitions."""

from pathlib import Path

import dagster as dg

from assets.corpora import corpus_statistics, documents, raw_documents
from assets.nodes import dataset_definitions, experiment_definitions, leaderboard_asset
from assets.sensors import clean_corpus, raw_files
from lm_pipeline.project import load_project

PROJECT_ROOT = Path(__file__).resolve().parents[1]


@dg.definitions
def defs() -> dg.Definitions:
    """Everything Dagster shows.

    Raises:
        SpecError: a declaration is wrong; raised before Dagster looks at it, so that its text is the one people see.
    """
    declarations = load_project().declarations
    inside = PROJECT_ROOT / "assets" / "defs"
    leaderboards = [leaderboard_asset(name, declarations.experiments_of(name)) for name in declarations.datasets]
    own = dg.Definitions(
        assets=[raw_documents, documents, corpus_statistics, *leaderboards],
        jobs=[clean_corpus],
        sensors=[raw_files],
        # A spawned step costs 2 to 3 s of imports, and what is heavy runs in child processes anyway.
        executor=dg.in_process_executor,
    )

    outside = [
        dataset_definitions(name, spec)
        for name, spec in declarations.datasets.items()
        if not declarations.files["assets.Dataset", name].is_relative_to(inside)
    ]
    experiments = [
        experiment_definitions(name, spec, declarations.datasets[spec.dataset])
        for name, spec in declarations.experiments.items()
    ]
    inside_defs = dg.load_from_defs_folder(path_within_project=PROJECT_ROOT)
    return dg.Definitions.merge(inside_defs, own, *outside, *experiments)
