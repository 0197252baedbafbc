"""A ledger's lines to the tables they must end in, whatever the order and repetition of the lines.

`Oracle` gives rows as lines are read, for ledgers larger than memory; `expected_tables` gives all at once.
"""

from collections.abc import Iterable, Iterator
from itertools import chain

from producer.ledger import LedgerLine
from producer.oracle.entities import Customers, Products
from producer.oracle.facts import fact_of
from producer.oracle.letters import letter_of
from producer.oracle.rows import TABLE_OF, FactRow, Identity, Letter, Row, SystemLog
from producer.oracle.sessions import sessions_of, step_of
from producer.oracle.truth import Money, OracleConfig


class Oracle:
    """Reads a ledger, line by line.

    Args:
        config: what decides the tables beside the events.
    """

    def __init__(self, config: OracleConfig) -> None:
        self._money = Money(config.rates, config.base_currency)
        self._customers = Customers(config.email_secret)
        self._products = Products()

    def read(self, line: LedgerLine) -> Iterator[FactRow | Identity | Letter]:
        """Give the rows that a line alone determines: a fact and a link of identities, or a dead letter.

        A repeated event gives the same rows again: whoever collects them keeps facts by `event_id`, and each
        link once. Of broken records each one sent is a row.

        Raises:
            OracleError: the event is none that the shop makes.
            msgspec.DecodeError: the line calls an event accepted that cannot be read.
        """
        if line.kind == "broken":
            yield letter_of(line)
            return
        event = line.decode()
        fact = fact_of(line.stream, event, self._money)
        self._customers.add(event, fact)
        self._products.add(event)
        yield fact
        of_visitor = not isinstance(fact, SystemLog) and fact.visitor_id is not None
        if of_visitor and event.anonymous_id is not None and event.customer_id is not None:
            yield Identity(event.anonymous_id, event.customer_id, event.occurred_at)

    def entities(self) -> Iterator[Row]:
        """Give the customers and products that all lines read so far leave."""
        yield from self._customers.rows()
        yield from self._products.rows()


def expected_tables(lines: Iterable[LedgerLine], config: OracleConfig) -> dict[str, list[Row]]:
    """Give every row of every silver table (late events but), by table, sorted; all of it in memory.

    Raises:
        OracleError: an event is none that the shop makes.
        msgspec.DecodeError: a line calls an event accepted that cannot be read.
    """
    oracle = Oracle(config)
    facts: dict[object, FactRow] = {}
    links: set[Identity] = set()
    letters: list[Letter] = []
    for read in map(oracle.read, lines):
        for found in read:
            if isinstance(found, Letter):
                letters.append(found)
            elif isinstance(found, Identity):
                links.add(found)
            else:
                facts[found.event_id] = found
    steps = sorted(step for fact in facts.values() if (step := step_of(fact)) is not None)
    sessions = sorted(sessions_of(steps, config.gap), key=lambda session: session.session_id)
    letters.sort(key=lambda letter: (letter.stream, letter.payload, letter.reason))
    tables: dict[str, list[Row]] = {table: [] for table in TABLE_OF.values()}
    for row in chain(_by_id(facts.values()), sorted(links), letters, oracle.entities(), sessions):
        tables[TABLE_OF[type(row)]].append(row)
    return tables


def _by_id(facts: Iterable[FactRow]) -> list[FactRow]:
    return sorted(facts, key=lambda fact: fact.event_id)
