"""`vestige migrate reembed`: declared with its final options, not built yet."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from vestige_migrate.cli import options
from vestige_migrate.errors import NotAvailable


def reembed(
    model: Annotated[str, typer.Option(help="The embedding model to use from now on.")],
    dimension: Annotated[
        Optional[int],  # noqa: UP045  # typer reads the annotation at run time
        typer.Option(help="Its vectors' length.", show_default="the model's own"),
    ] = None,
    postgres_url: options.PostgresUrl = None,
    batch_size: Annotated[int, typer.Option(help="Memories embedded at a time.")] = 128,
    drop_hnsw_first: Annotated[
        bool,
        typer.Option("--drop-hnsw-first/--keep-hnsw", help="Drop the HNSW index and build it anew at the end."),
    ] = True,
    concurrent_index: Annotated[
        bool, typer.Option("--concurrent-index", help="Build the index without blocking writers.")
    ] = False,
    max_connections: options.MaxConnections = 4,
    schema: options.Schema = None,
    dry_run: options.DryRun = False,
    debug: options.Debug = False,
) -> int:
    """Re-embed the memories in the destination with another model (not available yet)."""
    options.checked_url(postgres_url)
    raise NotAvailable(
        "reembed is not available yet: this version copies vectors as they are. "
        "Nothing was changed; keep using the embedding model that the source registered"
    )
