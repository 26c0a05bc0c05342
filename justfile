# Short names for the commands in CONTRIBUTING.md.

# List the recipes.
default:
    @just --list

# Install every distribution, editable, with the development tools.
sync:
    uv sync

# Run the tests; `just test -m slow` runs the long ones.
test *args:
    uv run pytest {{ args }}

# Check style and format.
lint:
    uv run ruff check
    uv run ruff format --check

# Fix what can be fixed without a decision.
fix:
    uv run ruff check --fix
    uv run ruff format

# Check types.
types:
    uv run mypy

# Do all that CI does.
ci:
    bash .ci/run
