"""A home, its declarations and the graph that they make."""

from dataclasses import dataclass

from lm_pipeline.errors import SpecError
from lm_pipeline.graph import Graph
from lm_pipeline.home import Home, definition_folders, find_home
from lm_pipeline.specs.declarations import Declarations, line_of, load_declarations
from lm_pipeline.stages.corpus import corpus_nodes
from lm_pipeline.stages.dataset import dataset_nodes
from lm_pipeline.stages.experiment import experiment_nodes
from lm_pipeline.stages.leaderboard import leaderboard_node


@dataclass(frozen=True)
class Project:
    """What a command or an asset works on."""

    home: Home
    declarations: Declarations
    graph: Graph


def build_graph(declarations: Declarations) -> Graph:
    """All nodes by asset name."""
    nodes = [node for name, spec in declarations.corpora.items() for node in corpus_nodes(name, spec)]
    nodes += [node for name, spec in declarations.datasets.items() for node in dataset_nodes(name, spec)]
    nodes += [
        node
        for name, spec in declarations.experiments.items()
        for node in experiment_nodes(name, spec, declarations.datasets[spec.dataset])
    ]
    nodes += [leaderboard_node(name, declarations.experiments_of(name)) for name in declarations.datasets]
    return {node.asset: node for node in nodes}


def load_project(home: Home | None = None) -> Project:
    """Read all declarations; the home need not be initialised.

    Raises:
        SpecError: a declaration is wrong.
    """
    home = home or find_home()
    declarations = load_declarations(definition_folders(), home.raw)
    _check_custom_rules(declarations)
    return Project(home, declarations, build_graph(declarations))


def _check_custom_rules(declarations: Declarations) -> None:
    """Refuse a condition that cannot be used before any text is read for it. Columns are known to the library only.

    Raises:
        SpecError: by file and line.
    """
    problems = []
    for name, spec in declarations.corpora.items():
        for number, rule in enumerate(spec.cleaning.custom):
            from lm_pipeline.corpus.quality.custom_rules import check_custom  # slow to import, and few have such rules

            if problem := check_custom(rule):
                path = declarations.files["assets.Corpus", name]
                line = line_of(path, "assets.Corpus", ["cleaning", "custom", number, "reject_if"])
                problems.append(f"{path}:{line}: attributes.cleaning.custom.{number}.reject_if: {problem}")
    if problems:
        raise SpecError("\n".join(problems))
