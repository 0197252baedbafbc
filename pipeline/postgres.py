"""What is said when the database does not do as it should."""

import psycopg

from pipeline.errors import UserError


def not_answering(error: psycopg.Error) -> UserError:
    """Give what to tell of a database that is away, or is a stranger's and does not let this user in."""
    return UserError(f"Postgres does not answer: {' '.join(str(error).split())}; does `pipeline up` run?")
