"""What Alembic runs: the revisions, on the connection that `sinks.migrate` holds."""

from alembic import context

from sinks.migrate import configure_options

context.configure(connection=context.config.attributes["connection"], **configure_options())
with context.begin_transaction():
    context.run_migrations()
