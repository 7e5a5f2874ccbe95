"""Other ways to make the same copy, each written as somebody would who has no reason to make it slow.

`python -m bench.baselines.NAME SOURCE`, the destination in VESTIGE_POSTGRES_URL, makes all rows and all indexes in an
empty database. The benchmark times the whole command and checks the copy like one of ours.
"""
