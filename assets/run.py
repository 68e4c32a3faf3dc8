"""What every asset's body does: build its node, then tell Dagster what was built."""

import os
from collections.abc import Callable

import dagster as dg

from assets.checks import CHECKS, check_results
from assets.dead_runs import hold
from assets.links import asset_url, run_url
from assets.metadata import metadata_of
from assets.terminal import say
from lm_pipeline import graph
from lm_pipeline.artifacts import Store
from lm_pipeline.launch import supervise
from lm_pipeline.project import load_project
from lm_pipeline.tracking.shipper import ensure_shipper, flush

ECHO = "LM_PIPELINE_ECHO"
"""Set by the command: what an asset logs is said in the terminal, too."""


def materialize_asset(context: dg.AssetExecutionContext, asset: str) -> graph.Outcome:
    """Build the asset's node, or find that its version exists."""
    project = load_project()
    home = project.home.require_initialised()
    hold(home, context.run.run_id)
    ensure_shipper(home)
    log = logger(context, asset)
    return graph.materialize(
        project.graph,
        home,
        asset,
        run_child=child_runner(context, log),
        log=log,
        tags=run_tags(context),
        note=run_note(context, asset),
    )


def result(context: dg.AssetExecutionContext, outcome: graph.Outcome, key: dg.AssetKey) -> dg.MaterializeResult:
    """The materialization as Dagster shows it: version, metadata, checks, link to the tracking run.

    A blocking check that does not hold is recorded as the asset's failure: Dagster skips what follows in this run, and
    the record keeps the next run from taking the asset for current.
    """
    home = load_project().home
    link = flush(home, outcome.spool_id)
    if link is None:
        context.log.warning(
            f"MLflow is silent. What was measured waits in {home.spool / outcome.spool_id}.jsonl and is shipped later."
        )
    checks = check_results(outcome.artifact, key)
    broken = [check for check in checks if not check.passed and check.severity == dg.AssetCheckSeverity.ERROR]
    if broken:
        meant = {check.name: check.description for check in CHECKS[outcome.artifact.stage]}
        said = "; ".join(
            f"{check.check_name}: {meant[str(check.check_name)]} Seen: {check.metadata['seen'].value}"
            for check in broken
        )
        Store(home.artifacts).set_failure(outcome.node.asset, f"{graph.CHECK_FAILED}: {said}")
    return dg.MaterializeResult(
        asset_key=key,
        data_version=dg.DataVersion(outcome.artifact.digest),
        metadata=metadata_of(outcome, link, home),
        check_results=checks,
        tags={"reused": str(outcome.reused).lower()},
    )


def logger(context: dg.AssetExecutionContext, asset: str) -> Callable[[str], None]:
    """A function that says a line in Dagster's log and, under the command, in the terminal."""

    def log(line: str) -> None:
        context.log.info(line)
        if os.environ.get(ECHO):
            say(asset, line)

    return log


class _Reader(dg.PipesTempFileMessageReader):
    """Dagster's own, without the warning that one of its properties is a preview."""

    @property
    def expected_writer_count(self) -> int:
        """One child, one writer."""
        return 1


def child_runner(context: dg.AssetExecutionContext, log: Callable[[str], None]) -> Callable[[list[str]], None]:
    """A function that runs a command as a supervised child, its messages reported through Dagster Pipes."""

    def run_child(argv: list[str]) -> None:
        if os.environ.get(ECHO):  # its lines come through stderr, so that the terminal has them too
            supervise(argv, on_line=log)
            return
        with dg.open_pipes_session(
            context=context, context_injector=dg.PipesEnvContextInjector(), message_reader=_Reader()
        ) as session:
            supervise(argv, env={**os.environ, **session.get_bootstrap_env_vars()}, on_line=log)

    return run_child


def run_note(context: dg.AssetExecutionContext, asset: str) -> str:
    """The description of the tracking run: the way back to Dagster, as links that can be clicked."""
    partition = context.partition_key if context.has_partition_key else None
    page = asset_url(asset.removesuffix(f"/{partition}"), partition)
    return f"Built by Dagster: [run]({run_url(context.run.run_id)}) · [asset {asset}]({page})"


def run_tags(context: dg.AssetExecutionContext) -> dict[str, str]:
    """Tags that lead from the tracking run back to Dagster."""
    tags = {"dagster.run_id": context.run.run_id, "dagster.job": context.run.job_name}
    if context.has_partition_key:
        tags["dagster.partition"] = context.partition_key
    return tags
