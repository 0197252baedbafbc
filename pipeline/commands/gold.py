"""`pipeline gold`: build gold once, or on an interval."""

import shutil
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress

from pipeline.errors import UserError
from pipeline.gold.build import GoldRun, build_gold, parse_as_of, write_docs
from pipeline.gold.interval import run_on_interval
from pipeline.gold.page import serve_page
from pipeline.settings import load_settings


@click.group("gold", invoke_without_command=True)
@click.pass_context
@click.option("--every", type=click.FloatRange(min=1), metavar="SECONDS", help="Build again and again.")
@click.option("--as-of", metavar="DATE", help="What stands for now: a day (its end, UTC) or an instant.")
@click.option("--full-refresh", is_flag=True, help="Make all tables anew.")
@click.option("--json", "as_json", is_flag=True, help="Print each run as a JSON object.")
def gold(
    context: click.Context, *, every: float | None, as_of: str | None, full_refresh: bool, as_json: bool
) -> None:
    """Compute the gold tables from silver by dbt, test them, and publish what has changed.

    Exit code 1 when something could not be built or a test of severity error fails; gold is then as it was.
    With --every it goes on after a failed build, until SIGTERM or Ctrl-C.
    """
    if context.invoked_subcommand is not None:
        return
    settings = load_settings()
    instant = parse_as_of(as_of) if as_of else None

    def build() -> GoldRun:
        with Progress(
            console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
        ) as progress:
            task = progress.add_task("building gold", total=None)
            run = build_gold(
                settings,
                as_of=instant,
                full_refresh=full_refresh,
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        click.echo(run.to_json() if as_json else run.summary())
        return run

    if every is None:
        sys.exit(0 if build().ok else 1)

    def build_and_go_on() -> None:
        try:
            build()
        except UserError as error:
            click.echo(f"gold: {error}", err=True)

    run_on_interval(build_and_go_on, every)


@gold.command("docs")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: a free one.")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the page there, and serve nothing."
)
def docs(port: int, out: Path | None) -> None:
    """Show every table of gold: columns and what each comes from, tests, SQL, and who reads it.

    One page, made by dbt, which is served on this machine until Ctrl-C.
    """
    from pipeline.gold.documentation import add_origins  # noqa: PLC0415  (reading SQL takes half a second to import)

    page = write_docs(load_settings())
    add_origins(page)
    if out is not None:
        shutil.copyfile(page, out)
        click.echo(f"written: {out}")
        return
    serve_page(page, port, lambda url: click.echo(f"{url} until Ctrl-C"))
