# Targets for contributors. Each target is one command of start.py or of the virtual environment.
.DEFAULT_GOAL := help
UV := $(shell command -v uv || echo .twap/uv/bin/uv)
COMPILE := $(UV) pip compile --universal --python-version 3.11 \
  --generate-hashes --no-annotate --no-header --no-strip-extras --no-emit-index-url

.PHONY: help demo dev unit test long lint format lock vulnerabilities bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## Start a local PostgreSQL and load the sample data
	python3 start.py demo

dev: ## Start Dagster's web UI on the sample data
	python3 start.py dev

unit: ## Run the tests that need no database, network or Dagster instance
	python3 start.py test -m unit

test: ## Run all tests with three workers: many tests wait
	python3 start.py test -n 3

lint: ## Run ruff, the format check, mypy and import contracts
	python3 start.py lint

long: ## Run the tests that are not part of the gate: dagster dev, small benchmarks, Celery (needs redis-server)
	python3 start.py test -m long

format: ## Format the code and fix what ruff can fix
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

lock: ## Resolve the dependencies into the four lock files (needs uv)
	$(COMPILE) pyproject.toml --all-extras --group build --group dev -o requirements-dev.lock
	$(COMPILE) pyproject.toml --extra embedded --group build --constraints requirements-dev.lock -o requirements.lock
	$(COMPILE) pyproject.toml --extra celery --extra k8s --constraints requirements-dev.lock -o deploy/requirements.lock
	$(COMPILE) --group build --constraints requirements-dev.lock -o deploy/build.lock

vulnerabilities: ## Compare the locked versions with the OSV database (needs internet access)
	python3 start.py vulnerabilities

bench: ## Run every benchmark with small sizes
	.venv/bin/python -m benchmarks --quick

clean: ## Delete caches; keeps .venv and .twap
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -not -path './.venv/*' -not -path './.twap/*' -prune -exec rm -rf {} +
