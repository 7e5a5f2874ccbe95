"""Reading Vestige's SQLite file: open, inspect, upgrade, split into ranges, read. Never imports psycopg."""
