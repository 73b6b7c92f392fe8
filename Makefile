# Every target does all of its own set-up; a machine needs Python >= 3.11 and make, no more.
#
#   PYTHON=...               the interpreter to use, instead of the first that runs
#   ARGS=...                 options for the command behind the target: make demo ARGS="--help"
#   PULSEBOARD_CHROMIUM=...  the browser for `make test`

.DEFAULT_GOAL := help
# Where this is set, every start would compile all it imports anew: seconds instead of one.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo serve test test-fast lint fmt bench chaos soak lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done

demo: ## three real services on one live board: the one command to try
	@scripts/python scripts/prepare.py run
	@.venv/bin/pulseboard demo $(ARGS)

serve: ## the server alone
	@scripts/python scripts/prepare.py run
	@.venv/bin/pulseboard serve $(ARGS)

test: ## everything: linters, types, layers, and the tests of all rings
	@scripts/python scripts/prepare.py test
	@.venv/bin/python scripts/check.py

test-fast: ## linters, types, layers, and the unit tests of package and page
	@scripts/python scripts/prepare.py check
	@.venv/bin/python scripts/check.py --fast

lint: ## the quick part of it: linters, types, layers
	@scripts/python scripts/prepare.py check
	@.venv/bin/python scripts/check.py --lint

fmt: ## format Python and TypeScript
	@scripts/python scripts/prepare.py check
	@.venv/bin/ruff check --fix-only --quiet .
	@.venv/bin/ruff format .
	@.venv/bin/python hatch_build.py npm exec -- biome check --write .

bench: ## the benchmarks in benchmarks/, one after the other
	@scripts/python scripts/prepare.py test
	@scripts/bench $(ARGS)

chaos: ## faults that really happen, and an account of every event: make chaos ARGS="--list"
	@scripts/python scripts/prepare.py test
	@.venv/bin/python -m chaos $(ARGS)

soak: ## the demo for half an hour, with visitors that come and go: does anything grow?
	@scripts/python scripts/prepare.py test
	@.venv/bin/python -m chaos.soak $(ARGS)

lock: ## lock the newest dependencies that fit pyproject.toml
	@scripts/lock

clean: ## remove whatever was made here
	@rm -rf .venv .venv-* .uv dist build web/node_modules docs/node_modules tests/compatibility/node_modules src/pulseboard/server/static \
	  .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests scripts benchmarks chaos -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
