"""Memories that were deleted in the destination: no copy brings them back unless it is told to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import psycopg
import pytest

from tests.conftest import CommandLine, Copier
from tests.integration.test_deletions import bury, there
from tests.support.compare import assert_same, stored
from tests.support.databases import run
from tests.support.guest import Guest
from tests.support.killer import killing_own_workers
from tests.support.logged import log_lines
from tests.support.sources import SourceSpec, build_source, edit, node_id
from vestige_migrate import (
    MigrationReport,
    SqliteToPostgresPlan,
    run_several_to_postgres,
    run_sqlite_to_postgres,
    verify_sqlite_to_postgres,
)
