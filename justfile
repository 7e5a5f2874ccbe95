# `just` alone lints and tests.
default: lint test

venv := env("VIRTUAL_ENV", ".venv")
bin := venv / "bin"

# make the virtual environment with everything in it
setup:
    test -d {{venv}} || python3 -m venv {{venv}}
    {{bin}}/pip install --quiet --editable '.[dev]'

# the whole test suite, on the bundled PostgreSQL
test *args:
    {{bin}}/python -m pytest --numprocesses auto {{args}}

# the same against the server of docker-compose.test.yml
test-docker *args:
    docker compose -f docker-compose.test.yml up --detach --wait
    VESTIGE_TEST_POSTGRES_URL=postgresql://vestige:vestige@localhost:55432/vestige {{bin}}/python -m pytest --numprocesses auto {{args}}
    docker compose -f docker-compose.test.yml down --volumes

# the same on an older server: `just test-old 15.5` or `16.2`; `-m old_server` is what .ci/run has
test-old release *args:
    {{bin}}/python -m tests.old_servers {{release}} --numprocesses auto {{args}}

lint:
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .
    {{bin}}/mypy
    {{bin}}/lint-imports

format:
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .

types:
    {{bin}}/mypy

# every bar of speed, 1k and 100k rows; `just bench --runs 5` judges, `just bench --rows 1000000` is the large one
bench *args:
    {{bin}}/python -m bench {{args}}

# faults at random moments of real copies (--living: of a source in use); `just chaos --seed 7 --faults 1` repeats one
chaos *args:
    {{bin}}/python -m tests.chaos {{args}}

# a copy that follows a source in use, while its server is restarted and its workers die
chaos-follow *args:
    {{bin}}/python -m tests.chaos.following {{args}}

# random bad rows and files; `just fuzz --seed 7 --rows 0 --files 1 --show` repeats one file
fuzz *args:
    {{bin}}/python -m tests.fuzz {{args}}

demo:
    {{bin}}/vestige migrate demo

clean:
    rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache bench/results
    find . -name __pycache__ -type d -prune -exec rm -rf {} +
