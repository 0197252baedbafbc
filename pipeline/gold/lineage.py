"""Where the columns of dbt's models come from: columns of silver and of seeds, read off the compiled SQL.

dbt knows of models only. What a model's column is computed from is sqlglot's to say; from model to model it
is followed here, down to what no model makes.
"""

from collections.abc import Collection, Iterator, Mapping
from graphlib import TopologicalSorter
from typing import Any, Final, NamedTuple

from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

DIALECT: Final = "postgres"
ROWS: Final = "*"
"""Stands for a column where rows are counted, whatever is in them."""
COPY: Final = "snapshot_"
"""Begins the names of the copies of silver's tables that a run reads."""


class Relation(NamedTuple):
    """A table or view of the database."""

    schema: str
    name: str


Place = tuple[Relation, str]
"""A column of a relation, or its `ROWS`."""
Direct = dict[str, set[Place]]
"""By column of a query, `ROWS` among them, the places that it is computed from."""
Columns = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Types of columns, by schema, relation and column."""


def find_origins(manifest: Mapping[str, Any], catalog: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Give, for each model by its unique id, where its columns come from: `table.column`, or `table (rows)`.

    What only decides which rows there are (joins, conditions, groups) is left out, and so is what is made of
    nothing, like the days of a calendar. A model whose SQL cannot be read, or whose tables are not there yet,
    has no columns here.

    Args:
        manifest: dbt's, with compiled SQL.
        catalog: dbt's: which columns the relations have.
    """
    models = {key: node for key, node in manifest["nodes"].items() if node["resource_type"] == "model"}
    columns = _columns(catalog)
    direct: dict[Relation, Direct] = {}
    graph = {key: set(node["depends_on"]["nodes"]) & models.keys() for key, node in models.items()}
    for key in TopologicalSorter(graph).static_order():
        generated = {relation for relation, found in direct.items() if found and not found[ROWS]}
        query = models[key].get("compiled_code") or ""
        direct[_relation(models[key])] = read_query(query, columns, generated)
    followed: dict[Place, frozenset[Place]] = {}

    def follow(place: Place) -> frozenset[Place]:
        relation, column = place
        if column not in direct.get(relation, {}):
            return frozenset([place])
        if place not in followed:
            followed[place] = frozenset()  # an incremental model reads itself
            followed[place] = frozenset[Place]().union(*map(follow, direct[relation][column]))
        return followed[place]

    return {
        key: {
            column: sorted(_label(*place) for place in follow((_relation(model), column)))
            for column in direct[_relation(model)]
            if column != ROWS
        }
        for key, model in models.items()
    }


def read_query(query: str, columns: Columns, generated: Collection[Relation] = frozenset()) -> Direct:
    """Give what each column of a query is computed from, and whose rows it has; nothing if it is no SQL.

    Args:
        query: a SELECT of Postgres.
        columns: of the relations in it.
        generated: relations whose rows are made of nothing.
    """
    try:
        parsed = parse_one(query, read=DIALECT)
        for table in parsed.find_all(exp.Table):
            table.set("catalog", None)
        schema: dict[str, object] = dict(columns)
        qualified = qualify(
            parsed, schema=schema, dialect=DIALECT, validate_qualify_columns=False, identify=False
        )
        scope = build_scope(qualified)
        nodes = lineage(None, qualified, schema, dialect=DIALECT, scope=scope, trim_selects=False, copy=False)
    except SqlglotError:
        return {}
    found = {name: set(_read_node(node, generated)) for name, node in nodes.items()}
    return {**found, ROWS: {(relation, ROWS) for relation in _rows_of(qualified, generated)}}


def _read_node(node: Node, generated: Collection[Relation]) -> Iterator[Place]:
    for step in node.walk():
        expression = step.expression
        if isinstance(expression, exp.Table):
            if expression.db:
                yield _named(expression), step.name.rpartition(".")[2].strip('"')
        elif not isinstance(expression, exp.Query) and any(
            isinstance(count.this, exp.Star) for count in expression.find_all(exp.Count)
        ):
            yield from ((relation, ROWS) for relation in _rows_of(step.source, generated))


def _rows_of(
    query: exp.Expr, generated: Collection[Relation], inside: frozenset[str] = frozenset()
) -> list[Relation]:
    """Give the relations that a query takes its rows from: FROM, or what is joined if that is generated.

    Args:
        query: of any kind, or what stands in its FROM.
        generated: relations whose rows are made of nothing.
        inside: names of the common table expressions that it is part of; a recursive one names itself.
    """
    if isinstance(query, exp.Subquery):
        query = query.unnest()
    if isinstance(query, exp.SetOperation):
        return _rows_of(query.left, generated, inside) + _rows_of(query.right, generated, inside)
    if isinstance(query, exp.Select):
        first, joins = query.args.get("from_"), query.args.get("joins") or []
        if first is None or any(join.find(exp.GenerateSeries) for join in joins):
            return []
        matched = [join for join in joins if join.args.get("on") or join.args.get("using")]
        candidates = (_rows_of(part.this, generated, inside) for part in (first, *matched))
        return next((found for found in candidates if found), [])
    if isinstance(query, exp.Table) and query.db:
        return [_named(query)] if _named(query) not in generated else []
    if not isinstance(query, exp.Table) or query.name in inside:
        return []
    named = _common_table(query)
    return _rows_of(named, generated, inside | {query.name}) if named is not None else []


def _common_table(reference: exp.Table) -> exp.Expr | None:
    """Give the query that stands behind the name of a common table expression."""
    at: exp.Expr | None = reference
    while at is not None:
        for table in at.ctes if isinstance(at, exp.Query) else ():
            if table.alias == reference.name:
                found: exp.Expr = table.this
                return found
        at = at.parent
    return None


def _named(table: exp.Table) -> Relation:
    return Relation(table.db, table.name)


def _relation(model: Mapping[str, Any]) -> Relation:
    return Relation(model["schema"], model["name"])


def _columns(catalog: Mapping[str, Any]) -> Columns:
    found: dict[str, dict[str, dict[str, str]]] = {}
    for table in (*catalog["nodes"].values(), *catalog["sources"].values()):
        types = {name: column["type"] for name, column in table["columns"].items()}
        found.setdefault(table["metadata"]["schema"], {})[table["metadata"]["name"]] = types
    return found


def _label(relation: Relation, column: str) -> str:
    table = relation.name
    if table.startswith(COPY) and table != f"{COPY}run":
        table = f"silver_{table.removeprefix(COPY)}"
    return f"{table} (rows)" if column == ROWS else f"{table}.{column}"
