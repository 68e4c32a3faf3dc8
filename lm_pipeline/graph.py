"""The graph of artifacts: what each asset is made from, whether it is current, and how it is built.

A node's address is the digest of its inputs' contents, of the spec fields that it reads and of its stage's version.
`materialize` builds one node from its inputs as they are materialized now. Whether what exists is what is asked for now
says `freshness`.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_pipeline.artifacts import Artifact, Stage, Staging, Store
from lm_pipeline.errors import BusyError, LmPipelineError, MissingArtifactError, nearest
from lm_pipeline.home import Home
from lm_pipeline.provenance import provenance
from lm_pipeline.tracking.spool import SpoolWriter
from lm_pipeline.tracking.spool_events import last_status
from lm_pipeline.tracking.spool_files import find_or_new_spool, is_held, spool_path


@dataclass(frozen=True)
class Build:
    """What a node's `write` works with.

    Attributes:
        inputs: the input artifacts, by role, verified.
        staging: where to write, and what to say about the result.
        outside: state of the world outside, for nodes that read it (see `Node.outside`).
        previous: the asset's current artifact, if there is one.
        spool: the tracking run of this build.
        log: says a line to whoever watches.
        run_child: starts a supervised child process with these arguments.
    """

    home: Home
    store: Store
    inputs: Mapping[str, Artifact]
    staging: Staging
    outside: Mapping[str, Any]
    previous: Artifact | None
    spool: SpoolWriter
    log: Callable[[str], None]
    run_child: Callable[[list[str]], None]


@dataclass(frozen=True)
class Node:
    """One asset (or one partition of one).

    Attributes:
        asset: its name, such as `documents/python_docs` or `python_docs/splits`; also its ref's.
        inputs: by role, the asset it is made from.
        optional: inputs that may be missing; a leaderboard shows what there is.
        spec: the spec fields that it reads, and no others.
        write: builds it.
        noun: whose asset it is: `corpus`, `dataset` or `experiment`.
        owner: that corpus's, dataset's or experiment's name.
        mlflow_experiment: where its run is tracked.
        outside: reads the state of the world that it depends on: raw files, a package's version.
        count_saved_steps: of a training: reads from the folder of its unfinished work how many steps are saved in it.
    """

    asset: str
    stage: Stage
    inputs: Mapping[str, str]
    spec: Mapping[str, Any]
    write: Callable[[Build], None]
    noun: str
    owner: str
    mlflow_experiment: str
    optional: frozenset[str] = frozenset()
    outside: Callable[[Home], Mapping[str, Any]] | None = None
    count_saved_steps: Callable[[Path], int] | None = None

    def address_spec(self, outside: Mapping[str, Any]) -> dict[str, Any]:
        """The spec part of the address."""
        return {**self.spec, "outside": dict(outside)} if self.outside else dict(self.spec)


Graph = dict[str, Node]

CHECK_FAILED = "CheckFailed"
"""How the recorded failure of an asset begins whose artifact exists, but must not be used."""


@dataclass(frozen=True)
class Outcome:
    """A materialized node: its artifact, whether it existed already, and the id of its tracking spool."""

    node: Node
    artifact: Artifact
    reused: bool

    @property
    def spool_id(self) -> str:
        """The tracking spool of the build that made the artifact."""
        return self.artifact.manifest["provenance"]["spool"]


def get_node(graph: Graph, asset: str) -> Node:
    """The node of an asset.

    Raises:
        MissingArtifactError: no declaration makes such an asset.
    """
    try:
        return graph[asset]
    except KeyError:
        raise MissingArtifactError(f"There is no asset {asset!r}. {nearest(asset, graph)}") from None


def materialize(
    graph: Graph,
    home: Home,
    asset: str,
    run_child: Callable[[list[str]], None],
    log: Callable[[str], None] = print,
    tags: Mapping[str, str] | None = None,
    note: str = "",
) -> Outcome:
    """Build an asset from its inputs as they are materialized now, or find that it exists.

    Args:
        run_child: starts a supervised child process (see `lm_pipeline.launch.supervise`).
        tags: tags of the tracking run, such as the orchestrator's run id.
        note: description of the tracking run, Markdown; the place for links that can be clicked.

    Raises:
        MissingArtifactError: an input is not materialized; the text says what to run.
        BusyError: another process is building it; that is no failure of the asset.
        LmPipelineError: whatever the stage could not do.
    """
    node = get_node(graph, asset)
    store = Store(home.artifacts)
    with store.in_use():  # from reading the inputs' refs to writing the asset's own
        try:
            outcome = _build(node, graph, home, store, run_child, log, tags or {}, note)
        except BusyError:
            raise
        except Exception as error:
            with contextlib.suppress(OSError, LmPipelineError):  # on a full disk the first error is the one to show
                store.set_failure(asset, f"{type(error).__name__}: {error}"[:4000])
            raise
        store.set_ref(asset, outcome.artifact)
    store.clear_failure(asset)
    return outcome


def _build(
    node: Node,
    graph: Graph,
    home: Home,
    store: Store,
    run_child: Callable[[list[str]], None],
    log: Callable[[str], None],
    tags: Mapping[str, str],
    note: str,
) -> Outcome:
    started = time.time()
    inputs = _current_inputs(node, graph, store)
    outside = node.outside(home) if node.outside else {}
    spec = node.address_spec(outside)

    with contextlib.ExitStack() as exits:

        def write(staging: Staging) -> None:
            for artifact in inputs.values():
                artifact.verify()
            spool = exits.enter_context(_run_of(SpoolWriter(find_or_new_spool(home, node.stage.name, staging.key))))
            spool.open(
                experiment=node.mlflow_experiment,
                run_name=node.owner if node.stage.name == "checkpoint" else node.asset,
                tags={"asset": node.asset, "stage": node.stage.name, "key": staging.key, **tags},
            )
            if note:
                spool.note(note)
            for role, artifact in inputs.items():
                spool.input(node.inputs[role], artifact.digest, source=str(artifact.directory), context=role)
            node.write(Build(home, store, inputs, staging, outside, store.ref(node.asset), spool, log, run_child))
            staging.provenance = provenance(started, spool=spool.spool_id, asset=node.asset)

        artifact, reused = store.build(node.stage, inputs, spec, write)
    outcome = Outcome(node, artifact, reused)
    if reused:
        _finish_run(spool_path(home, outcome.spool_id))
    return outcome


@contextlib.contextmanager
def _run_of(spool: SpoolWriter) -> Iterator[SpoolWriter]:
    """The tracking run of a build: finished when the artifact is published, not before."""
    with spool:
        try:
            yield spool
        except Exception:
            spool.status("FAILED")
            raise
        except BaseException:
            spool.status("KILLED")
            raise
        spool.status("FINISHED")


def _finish_run(spool: Path) -> None:
    """End the tracking run of a build that was killed between publishing its artifact and saying so."""
    if spool.exists() and not is_held(spool) and last_status(spool) != "FINISHED":
        with SpoolWriter(spool) as writer:
            writer.status("FINISHED")


def _current_inputs(node: Node, graph: Graph, store: Store) -> dict[str, Artifact]:
    inputs = {}
    for role, asset in node.inputs.items():
        if asset not in graph:
            raise MissingArtifactError(undeclared(node, asset, graph))
        artifact = store.ref(asset)
        failure = store.failure(asset) or ""
        if failure.startswith(CHECK_FAILED) and role not in node.optional:
            raise MissingArtifactError(f"{node.asset} needs {asset}, which must not be used. {failure}")
        if artifact is not None:
            inputs[role] = artifact
        elif role not in node.optional:
            raise MissingArtifactError(
                f"{node.asset} needs {asset}, which is not materialized. Run `lm-pipeline materialize"
                f" {graph[asset].owner}` first."
            )
    return inputs


def undeclared(node: Node, asset: str, graph: Graph) -> str:
    """What to say about an input that nothing declares: only a dataset's corpora can be that."""
    corpus = asset.rsplit("/", 1)[-1]
    corpora = {item.owner for item in graph.values() if item.noun == "corpus"}
    return (
        f"{node.asset} reads the corpus {corpus!r}, which does not exist. {nearest(corpus, corpora)} Declare it with"
        f" `lm-pipeline new corpus {corpus}`, or drop its files into the folder raw/{corpus}/ of the home."
    )


def topological(graph: Graph, assets: Collection[str] | None = None) -> Iterator[str]:
    """Asset names, inputs before those made from them, otherwise in the graph's order.

    Args:
        assets: those wanted, which come with all their inputs; None for all.
    """
    done: set[str] = set()

    def visit(asset: str) -> Iterator[str]:
        if asset in done or asset not in graph:
            return
        done.add(asset)
        for parent in graph[asset].inputs.values():
            yield from visit(parent)
        yield asset

    for asset in graph:
        if assets is None or asset in assets:
            yield from visit(asset)


def upstream(graph: Graph, assets: set[str]) -> list[str]:
    """The assets and everything they need to be made, in topological order.

    Optional inputs are left out: a leaderboard shows the experiments that there are, it does not ask for them.
    """
    wanted: set[str] = set()
    pending = list(assets)
    while pending:
        asset = pending.pop()
        if asset not in wanted and asset in graph:
            wanted.add(asset)
            node = graph[asset]
            pending += [made_from for role, made_from in node.inputs.items() if role not in node.optional]
    return [asset for asset in topological(graph) if asset in wanted]


def assets_of(graph: Graph, name: str) -> set[str]:
    """The assets that a name stands for: one asset's, or all of a corpus, dataset or experiment.

    Raises:
        MissingArtifactError: nothing has that name.
    """
    if name in graph:
        return {name}
    found = {node.asset for node in graph.values() if node.owner == name}
    if not found:
        hint = nearest(name, {node.owner for node in graph.values()})
        raise MissingArtifactError(f"There is no corpus, dataset, experiment or asset {name!r}. {hint}")
    return found


def numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    """The top-level numbers of a summary: what a stage logs as metrics."""
    return {
        key: float(value)
        for key, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
