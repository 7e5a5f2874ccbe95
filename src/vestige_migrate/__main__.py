"""`python -m vestige_migrate` is `vestige-migrate`."""

from vestige_migrate.cli import vestige_migrate

vestige_migrate()
