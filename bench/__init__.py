"""The benchmark: `python -m bench` from the repository's root. docs/performance.md says how to read it."""
