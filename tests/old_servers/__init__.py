"""Servers older than the bundled one, for the suite: `python -m tests.old_servers 15.5 -m old_server`."""
