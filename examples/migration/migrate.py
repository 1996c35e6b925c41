# SPDX-License-Identifier: BSD-2-Clause
"""migrate: bring the database DATABASE up to what release RELEASE needs, by migrations/N.sql."""

import os
import pathlib
import sqlite3
import sys

folder = pathlib.Path(__file__).parent / "migrations"
database = sqlite3.connect(os.environ["DATABASE"], isolation_level=None, timeout=30)
database.execute("BEGIN IMMEDIATE")  # two hooks at once: the second one waits, and finds it done
schema = database.execute("PRAGMA user_version").fetchone()[0]
try:
    for number in range(schema + 1, int(os.environ["RELEASE"]) + 1):
        for statement in (folder / f"{number}.sql").read_text().split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {number}")
        print(f"migration {number} is done", flush=True)
    database.execute("COMMIT")
except (OSError, sqlite3.Error) as error:
    database.execute("ROLLBACK")
    sys.exit(f"migration {number}: {error}; the database is as it was")
