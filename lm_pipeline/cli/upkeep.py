"""Commands that look after a home."""

import click

from lm_pipeline.cli.printing import json_option, print_json


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would go, delete nothing.")
@click.option("--unfinished", is_flag=True, help="Also what interrupted trainings and downloads could go on from.")
@click.option("--drop", metavar="STAGE/KEY", help="Delete one artifact whatever needs it (a damaged one).")
@json_option
def gc(dry_run: bool, unfinished: bool, drop: str | None, as_json: bool) -> None:
    """Delete artifacts that nothing current is made from."""
    from lm_pipeline.artifacts import Store, garbage
    from lm_pipeline.home import find_home

    store = Store(find_home().require_initialised().artifacts)
    if drop is not None:
        stage, _, key = drop.partition("/")
        if dry_run:
            raise click.UsageError("--drop deletes at once: give it without --dry-run.")
        dropped = garbage.drop(store, stage, key)
        if not dropped:
            raise click.UsageError(f"There is no artifact {drop!r}; expected STAGE/KEY as `status --json` shows it.")
        print_json({"dropped": dropped}) if as_json else click.echo(f"Dropped {', '.join(dropped)}.")
        return
    collected = garbage.collect_garbage(store, dry_run=dry_run, unfinished=unfinished)
    if as_json:
        print_json({**collected.as_dict(), "dry_run": dry_run})
        return
    verb = "Would delete" if dry_run else "Deleted"
    click.echo(f"{verb} {collected.artifacts} artifacts, {collected.bytes / 1e6:,.1f} MB. In use: {collected.busy}.")
    if collected.building:
        click.echo("Something is being built, so everything published was left alone. Run it again afterwards.")


@click.command()
@click.option("--verify", is_flag=True, help="Hash every artifact's bytes.")
@json_option
def doctor(verify: bool, as_json: bool) -> None:
    """What this machine and home are like, and what is wrong."""
    from lm_pipeline.doctor import examine
    from lm_pipeline.home import find_home

    findings = examine(find_home(), verify)
    if as_json:
        print_json(findings)
    else:
        for item in findings:
            click.echo(f"{'ok  ' if item['ok'] else 'BAD '} {item['name']}: {item['detail']}")
    if not all(item["ok"] for item in findings):
        raise click.exceptions.Exit(1)
