"""`pipeline dead-letters`: what was refused, and what is done about it."""

import json
import shlex
from dataclasses import replace
from typing import Any

import click
from rich.table import Table

from pipeline.commands.dead_letters_replay import confirm, replay, say_if_waiting
from pipeline.console import make_console
from pipeline.dead_letters import store
from pipeline.dead_letters.letters import Letter
from pipeline.dead_letters.naming import check_named, in_other_statuses, nothing_selected
from pipeline.dead_letters.options import filters, selection_of
from pipeline.dead_letters.selection import GROUPS, OPEN, UNREADABLE, Selection
from pipeline.dead_letters.show import as_text, as_values, instant, summary
from pipeline.errors import UserError
from pipeline.settings import Settings, load_settings

MOST_ROWS = 50


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at records that were refused, correct them, send them again, or discard them.

    A letter is named by the identity of its record, STREAM/EPOCH/SHARD/SEQUENCE/SUB, as `list --rows`
    shows it.
    """


dead_letters.add_command(replay)


@dead_letters.command("list")
@filters
@click.option(
    "--by", default="reason", show_default=True, type=click.Choice(list(GROUPS)), help="What to count by."
)
@click.option("--rows", is_flag=True, help=f"Letter by letter, not counted; {MOST_ROWS} without --limit.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_letters(by: str, rows: bool, as_json: bool, **given: Any) -> None:
    """Count letters by reason with an example of each, or list them.

    Without --status: those that are open, pending or exhausted (failed twice in the same way).
    """
    if rows and given["limit"] is None:
        given["limit"] = MOST_ROWS
    selection = selection_of(given, OPEN)
    with store.connect(_url(load_settings())) as connection:
        check_named(connection, selection)
        if rows:
            letters = store.letters(connection, selection)
            total = store.count(connection, selection_of({**given, "limit": None}, OPEN))
            click.echo(_rows_json(letters, total)) if as_json else _show_rows(letters, total)
        else:
            groups = store.groups(connection, selection, by)
            if as_json:
                click.echo(_groups_json(groups, by))
            elif groups:
                _show_groups(groups, by)
            else:
                click.echo(nothing_selected(connection, selection))


@dead_letters.command("show")
@filters
@click.option("--raw", is_flag=True, help="Only the payload, byte for byte as it came.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(raw: bool, as_json: bool, **given: Any) -> None:
    """Show letters whole: the payload with what is wrong in it, what was done, and how to replay it.

    Without --limit one letter is shown, of those that are selected the oldest. Without --status: any.
    """
    named = given["identities"] or given["event_id"]
    given["limit"] = given["limit"] or (max(1, len(given["identities"])))
    given["statuses"] = given["statuses"] or (("all",) if named else OPEN)
    selection = selection_of(given, OPEN)
    with store.connect(_url(load_settings())) as connection:
        check_named(connection, selection)
        found = [store.surroundings(connection, letter) for letter in store.letters(connection, selection)]
        if not found:
            raise UserError(nothing_selected(connection, selection))
        total = store.count(connection, replace(selection, limit=None))
    for number, shown in enumerate(found):
        if raw:
            click.get_binary_stream("stdout").write(shown.came or b"")
        elif as_json:
            click.echo(json.dumps(as_values(shown), ensure_ascii=False))
        else:
            click.echo(("\n" if number else "") + as_text(shown))
    if len(found) < total:
        more = f"{len(found)} of {total} that are selected, the oldest first; --limit {total} shows all"
        click.echo(f"\n{more}", err=raw or as_json)


@dead_letters.command("discard")
@filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For programs; does not ask either.")
def discard(yes: bool, as_json: bool, **given: Any) -> None:
    """Note that nothing is to be done about letters: they are kept, and no longer open.

    Without --status: those that are pending. `replay --status discarded` takes it back.
    """
    selection = selection_of(given, ("pending",))
    with store.connect(_url(load_settings())) as connection:
        check_named(connection, selection)
        chosen = store.identities(connection, selection)
        if not chosen and not as_json:
            click.echo(_nothing_to_discard(connection, selection, given))
            return
        if not as_json:
            confirm(len(chosen), "Discard", yes=yes)
        say_if_waiting(connection)
        with store.one_at_a_time(connection):
            discarded = store.discard(connection, chosen)
    if as_json:
        click.echo(json.dumps({"discarded": discarded}))
        return
    click.echo(f"{discarded} dead letter{'s' * (discarded != 1)} discarded")
    if discarded < len(chosen):
        others = len(chosen) - discarded
        are = "is left as it is" if others == 1 else "are left as they are"
        click.echo(f"{others} {are}: replayed or discarded already")


def _nothing_to_discard(connection: store.Connection, selection: Selection, given: dict[str, Any]) -> str:
    if given["statuses"]:
        return f"nothing to discard: {nothing_selected(connection, selection)}"
    wanted = "open" if given["identities"] or given["event_id"] else "pending"
    more = in_other_statuses(connection, selection, selectable=("exhausted",))
    return f"nothing to discard: no {wanted} dead letter is selected{more}"


def _show_groups(groups: list[store.Group], by: str) -> None:
    table = Table(title=f"Dead letters by {by}", title_justify="left")
    table.add_column(by, no_wrap=True)
    for heading in ("letters", "exhausted", "last arrived"):
        table.add_column(heading, no_wrap=True)
    table.add_column("one of them, the last to fail", overflow="fold")
    for group in groups:
        arrived = f"{group.last_arrived_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(group.name, str(group.letters), str(group.exhausted), arrived, group.error)
    make_console().print(table)
    click.echo("look at one of each, and how to replay it:")
    for group in groups:
        click.echo(f"  pipeline dead-letters show {shlex.quote(str(group.example))}  # {group.name}")


def _groups_json(groups: list[store.Group], by: str) -> str:
    return json.dumps(
        {
            "by": by,
            "letters": sum(group.letters for group in groups),
            "groups": [
                {
                    "name": group.name,
                    "letters": group.letters,
                    "pending": group.pending,
                    "exhausted": group.exhausted,
                    "first_arrived_at": group.first_arrived_at.isoformat(),
                    "last_arrived_at": group.last_arrived_at.isoformat(),
                    "example": {"identity": str(group.example), "error": group.error},
                }
                for group in groups
            ],
        },
        ensure_ascii=False,
    )


def _show_rows(letters: list[Letter], total: int) -> None:
    for letter in letters:
        what = " ".join(part for part in (letter.event_type, letter.event_id) if part)
        click.echo(f"{letter.identity}\n  {letter.status}, {letter.reason}: {letter.errors_in_short}")
        click.echo(f"  {what or UNREADABLE}, arrived {instant(letter.arrived_at)}, {letter.failures}")
    click.echo(f"{len(letters)} of {total} dead letter{'s' * (total != 1)}")


def _rows_json(letters: list[Letter], total: int) -> str:
    return json.dumps(
        {"total": total, "letters": [summary(letter) for letter in letters]}, ensure_ascii=False
    )


def _url(settings: Settings) -> str:
    return settings.postgres_url.get_secret_value()
