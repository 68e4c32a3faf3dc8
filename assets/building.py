"""Runs assets in this process: one Dagster run per corpus, then one for the rest, skipping what is current."""

import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import dagster as dg

from assets.corpora import CORPORA, DOCUMENTS, RAW, REJECTED, STATISTICS
from assets.dead_runs import end_dead_runs, hold, release
from assets.instance import open_instance
from assets.run import ECHO
from lm_pipeline.freshness import status
from lm_pipeline.graph import Graph, Node, assets_of, topological, upstream
from lm_pipeline.home import Home, find_home
from lm_pipeline.project import load_project


@dataclass
class Built:
    """What a command built.

    Attributes:
        built: assets that were materialized, with the seconds they took.
        current: assets that were current already.
        failed: assets that were wanted and are not current now, with the reason.
        seconds: wall time.
    """

    built: list[str] = field(default_factory=list)
    current: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)

    def as_text(self) -> str:
        """For people."""
        lines = [f"FAILED {asset}: {reason}" for asset, reason in self.failed.items()]
        if not self.built and not self.failed:
            lines.append(f"Nothing to do: all {len(self.current)} assets are current.")
        else:
            built = "1 asset" if len(self.built) == 1 else f"{len(self.built)} assets"
            lines.append(
                f"{built} built, {len(self.current)} were current, {len(self.failed)} failed; {self.seconds:.0f} s."
            )
        return "\n".join(lines)


def build_names(home: Home, names: Iterable[str], only: bool = False, quiet: bool = False) -> Built:
    """Build what is not current of the named assets and of what they are made from.

    Args:
        only: leave out what they are made from.
        quiet: say nothing in the terminal while building.

    Raises:
        MissingArtifactError: a name stands for nothing.
    """
    graph = load_project(home).graph
    wanted: set[str] = set()
    for name in names:
        wanted |= assets_of(graph, name)
    if not only:
        wanted = set(upstream(graph, wanted))
    # A leaderboard shows what there is: it follows what is built, and asks for nothing else to be built.
    wanted |= {
        asset
        for asset, node in graph.items()
        if node.stage.name == "leaderboard" and not only and wanted & set(node.inputs.values())
    }
    return build(home, wanted, quiet)


def build(home: Home, wanted: set[str], quiet: bool = False) -> Built:
    """Build those of the wanted assets that are not current."""
    started = time.monotonic()
    graph = load_project(home).graph
    errors: dict[str, str] = {}
    before = {asset: state.status for asset, state in status(graph, home, assets=wanted).items() if asset in wanted}
    pending = [asset for asset, value in before.items() if value != "current"]
    # Current now, but no longer when an experiment that it shows has been built.
    pending += [asset for asset in before if asset not in pending and _is_board_of(graph[asset], pending)]
    if pending:
        if not quiet:
            os.environ[ECHO] = "1"
        errors = _run_pending(home, graph, pending)
    after = status(graph, home, assets=wanted)
    result = Built(current=[asset for asset in before if asset not in pending])
    for asset in pending:
        inputs = graph[asset].inputs.items()
        needs = [made_from for role, made_from in inputs if role not in graph[asset].optional]
        if asset not in errors and after[asset].status == "current":
            result.built.append(asset)
        elif cause := next((made_from for made_from in needs if made_from in result.failed), None):
            result.failed[asset] = f"not built, for it needs {cause}"
        elif after[asset].status == "failed":
            result.failed[asset] = after[asset].reason
        else:
            result.failed[asset] = errors.get(asset) or after[asset].reason
    result.seconds = round(time.monotonic() - started, 1)
    return result


def _is_board_of(node: Node, assets: Iterable[str]) -> bool:
    return node.stage.name == "leaderboard" and not set(assets).isdisjoint(node.inputs.values())


def _run_pending(home: Home, graph: Graph, pending: list[str]) -> dict[str, str]:
    """Run them; return what failed in Dagster, by asset. That includes what fails after building, such as a check."""
    from assets.definitions import defs

    definitions = defs()
    errors: dict[str, str] = {}
    end_dead_runs(home)
    with open_instance(home) as instance:
        for corpus in dict.fromkeys(graph[asset].owner for asset in pending if graph[asset].noun == "corpus"):
            instance.add_dynamic_partitions(CORPORA.name or "corpora", [corpus])
            keys = [RAW] if f"raw_documents/{corpus}" in pending else []
            keys += [DOCUMENTS, REJECTED] if f"documents/{corpus}" in pending else []
            keys += [STATISTICS] if f"corpus_statistics/{corpus}" in pending else []
            failed = _execute(definitions, instance, keys, corpus)
            errors |= {f"{asset}/{corpus}": text for asset, text in failed.items()}
        rest = [asset for asset in topological(graph) if asset in pending and graph[asset].noun != "corpus"]
        if rest:
            errors |= _execute(definitions, instance, [dg.AssetKey(asset.split("/")) for asset in rest])
        # Dagster skips a leaderboard when an experiment fails; it is the place where the failure has to be shown.
        states = status(graph, home, assets=rest)
        boards = [a for a in rest if a.endswith("/leaderboard") and states[a].status != "current"]
        if boards:
            errors |= _execute(definitions, instance, [dg.AssetKey(asset.split("/")) for asset in boards])
    return errors


def _execute(
    definitions: dg.Definitions, instance: dg.DagsterInstance, keys: list[dg.AssetKey], partition: str | None = None
) -> dict[str, str]:
    """One run, in this process; steps that do not need a failed one go on.

    Returns:
        The errors by asset name (without the partition).
    """
    job = definitions.resolve_implicit_global_asset_job_def()
    home, run_id = find_home(), str(uuid.uuid4())
    hold(home, run_id)
    try:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=keys,
            partition_key=partition,
            raise_on_error=False,
            run_id=run_id,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    finally:
        release(home, run_id)
    errors = {}
    for event in result.all_events:
        if event.is_step_failure and (error := event.step_failure_data.error) is not None:
            if error.cls_name == "DagsterExecutionInterruptedError":
                raise KeyboardInterrupt
            cause = error.cause or error
            asset = str(event.step_key).replace("__", "/")
            errors[asset] = cause.message.strip()
    return errors
