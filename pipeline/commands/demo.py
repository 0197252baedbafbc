"""`pipeline demo`: a bounded run of the whole path, with a summary."""

import json
import random
import time
from typing import Any

import click
import psycopg
from psycopg import sql
from psycopg.rows import class_row
from rich.console import Console
from rich.table import Table

from pipeline.commands.verify import as_values as report_values
from pipeline.commands.verify import show as show_report
from pipeline.commands.verify import show_reconciliation
from pipeline.console import make_console
from pipeline.demo import DemoResult, run_demo
from pipeline.errors import UserError
from pipeline.local.platform import LocalPlatform
from pipeline.local.programs import default_workers
from pipeline.local.signals import stop_by_signals
from pipeline.picture import Business, Channel, Cohort, Month, Segment, draw
from pipeline.prepare import start_pipeline
from pipeline.sending import progress_bar
from pipeline.settings import load_settings
from producer.run import ProduceConfig, now

GOLD_WORKER = "gold"
MONTHS = """
    SELECT period_start AS starts, is_complete, revenue, orders, aov, customers_new, conversion_rate, mrr
    FROM gold.gold_business_metrics
    WHERE grain = 'month' AND (orders > 0 OR sessions > 0 OR revenue <> 0)
    ORDER BY period_start
"""
# spend is there for longer than the shop
CHANNELS = """
    SELECT
        channel,
        sum(returns.revenue) AS revenue,
        sum(returns.spend) AS spend,
        sum(returns.revenue) / nullif(sum(returns.spend), 0) AS roas,
        coalesce(acquired.customers_new, 0) AS customers_new
    FROM gold.gold_channel_returns AS returns
    LEFT JOIN (
        SELECT channel, sum(customers_new)::bigint AS customers_new
        FROM gold.gold_acquisition
        GROUP BY channel
    ) AS acquired USING (channel)
    WHERE
        returns.model = 'linear'
        AND returns.day >= (SELECT min(day) FROM gold.gold_channel_returns WHERE revenue <> 0)
    GROUP BY channel, acquired.customers_new
    ORDER BY revenue DESC, channel
"""
SEGMENTS = """
    SELECT segment, count(*) AS customers, sum(revenue) AS revenue, sum(ltv_predicted_12m) AS expected
    FROM gold.gold_customer_analytics
    GROUP BY segment
    ORDER BY segment IS NULL, revenue DESC, segment
"""
COHORTS = """
    SELECT
        cohort_month AS month,
        max(customers) AS customers,
        array_agg(retention ORDER BY months_since) AS retention
    FROM gold.gold_cohort_analysis
    GROUP BY cohort_month
    ORDER BY cohort_month
"""
LAYERS = {
    "bronze": "bronze_%",
    "silver": "%",
    "gold": "gold_%",
}


@click.command("demo")
@click.option("--count", default=20_000, show_default=True, help="Records to send, flaws included.")
@click.option("--days", default=180.0, show_default=True, help="Length of the history.")
@click.option("--seed", type=int, help="The same seed makes the same shop.  [random]")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the result as JSON, all else to the error output."
)
def demo(count: int, days: float, seed: int | None, as_json: bool) -> None:
    """Run the whole path once, on synthetic events: start, send, wait, build gold, check, stop.

    Among the events are duplicates, late and broken ones. Exit code 0 only if nothing was lost or doubled,
    and every field of every silver table is what the events sent must give.
    """
    settings = load_settings()
    config = ProduceConfig(
        seed=random.randrange(10**6) if seed is None else seed,  # noqa: S311  (a shop, no secret)
        end=now(),
        count=count,
        days=days,
        late=0.02,
        duplicates=0.01,
        broken=0.005,
    )
    # Gold is built when all is through, so no worker builds it meanwhile.
    workers = [
        w for w in default_workers(gold_every_seconds=settings.gold_every_seconds) if w.name != GOLD_WORKER
    ]
    console = make_console(stderr=as_json)
    platform = LocalPlatform(settings, workers, say=lambda line: console.print(line, highlight=False))
    began = time.monotonic()
    with stop_by_signals():
        try:
            platform.start()
            start_pipeline(platform)
            started = time.monotonic() - began
            with progress_bar("sending", count) as progress:
                result = run_demo(platform, config, say=platform.say, progress=progress)
            result.seconds = {"starting": started, **result.seconds}
            if as_json:
                click.echo(json.dumps(as_values(result), default=str, indent=1))
            else:
                show(result, platform, console)
        except KeyboardInterrupt:
            raise UserError("interrupted", exit_code=130) from None
        finally:
            platform.stop()
    if result.failures:
        raise UserError("the demo failed: " + "; ".join(result.failures))
    console.print(f"all right, in {time.monotonic() - began:.0f} s", highlight=False)


def as_values(result: DemoResult) -> dict[str, Any]:
    """Give the result as JSON has it."""
    return {
        "failures": result.failures,
        "seed": result.config.seed,
        "records": result.sent.totals.records,
        "seconds": result.seconds,
        "conservation": report_values(result.report) if result.report else None,
        "ledger": result.reconciliation.as_values() if result.reconciliation else None,
        "gold": result.gold.status if result.gold else None,
        "ledger_file": str(result.ledger),
    }


def show(result: DemoResult, platform: LocalPlatform, console: Console) -> None:
    """Print the summary."""
    with psycopg.connect(platform.postgres_url) as connection:
        console.print(layers_table(connection))
        if result.report:
            show_report(result.report, console)
        if result.reconciliation:
            show_reconciliation(result.reconciliation, console)
        console.print(letters_table(connection))
        business = read_business(connection, platform.settings.base_currency)
    console.print(draw(business, block="█" if console.encoding.startswith("utf") else "#"), "")
    sent, checked = result.sent.totals, result.reconciliation
    phases = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in result.seconds.items())
    console.print(f"time: {phases}", highlight=False)
    seconds = result.seconds.get("producing", 0) + result.seconds.get("processing", 0)
    rate = sent.records / seconds
    console.print(
        f"rate: {sent.records} records, Kinesis to silver in {seconds:.1f} s, {rate:.0f}/s", highlight=False
    )
    if checked:
        console.print(
            f"ledger: {checked.facts} events and {checked.broken} broken records were sent; of the rows of "
            f"silver {checked.lost} are lost, {checked.doubled} doubled, {checked.differing} differ",
            highlight=False,
        )
    console.print(
        f"where to look: `pipeline up --no-produce` starts it again with this data; "
        f"ledger {result.ledger}; logs {platform.logs}",
        highlight=False,
    )


def layers_table(connection: psycopg.Connection[tuple[object, ...]]) -> Table:
    """Give the number of rows of each table."""
    table = Table(title="Rows by layer", title_justify="left")
    for heading in ("layer", "table", "rows"):
        table.add_column(heading)
    for layer, pattern in LAYERS.items():
        for name in _tables(connection, layer, pattern):
            row = connection.execute(
                sql.SQL("SELECT count(*) FROM {}.{}").format(sql.Identifier(layer), sql.Identifier(name))
            ).fetchone()
            table.add_row(layer, name, str(row[0] if row else ""))
    return table


def letters_table(connection: psycopg.Connection[tuple[object, ...]]) -> Table:
    """Give the dead letters by reason."""
    reasons = connection.execute(
        "SELECT reason, count(*) FROM silver.dead_letters GROUP BY reason ORDER BY count(*) DESC, reason"
    )
    table = Table(title="Dead letters", title_justify="left")
    table.add_column("reason")
    table.add_column("records")
    for reason, count in reasons:
        table.add_row(str(reason), str(count))
    return table


def read_business(connection: psycopg.Connection[tuple[object, ...]], currency: str) -> Business:
    """Give what gold says of the business, in the base currency."""
    return Business(
        currency,
        connection.cursor(row_factory=class_row(Month)).execute(MONTHS).fetchall(),
        connection.cursor(row_factory=class_row(Channel)).execute(CHANNELS).fetchall(),
        connection.cursor(row_factory=class_row(Segment)).execute(SEGMENTS).fetchall(),
        connection.cursor(row_factory=class_row(Cohort)).execute(COHORTS).fetchall(),
    )


def _tables(connection: psycopg.Connection[tuple[object, ...]], layer: str, pattern: str) -> list[str]:
    """Give a schema's tables, partitioned ones as one."""
    rows = connection.execute(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p') AND NOT relispartition
            AND relname LIKE %s
        ORDER BY relname
        """,
        (layer, pattern),
    ).fetchall()
    return [str(row[0]) for row in rows]
