"""A seeded campaign of faults against real copies: `python -m tests.chaos --seed 1 --faults 200`."""
