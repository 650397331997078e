# Everything here needs nothing but make and Python 3.11, 3.12 or 3.13: each target first sets up a virtual environment
# in .venv with the packages of requirements.lock, once.

PYTHON ?= python3
PYTHONS ?= python3.11 python3.12 python3.13
BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .venv-bench/installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help install demo up test lint format bench lock clean

help:
	@echo 'make demo     start the service, run real experiments, draw a picture, stop everything'
	@echo 'make up       start the service here and keep it until Ctrl-C (options: make up ARGS="--port 9000")'
	@echo 'make test     lint, then every test (options for pytest: make test ARGS="-k lease")'
	@echo 'make lint     ruff, mypy, import contracts'
	@echo 'make format   ruff format and safe fixes'
	@echo 'make bench    the benchmarks, with peers (options: make bench ARGS="few_shot --rounds 5")'
	@echo 'make lock     resolve requirements.lock again (needs $(PYTHONS))'
	@echo 'make clean    remove .venv and what the tools left'

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) deploy/check_python.py $(PYTHON)
	@test -x $(BIN)/python || { echo '==> Making a virtual environment in .venv'; $(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }; }
	@echo '==> Installing the packages of requirements.lock (about a gigabyte; once)'
	@$(PIP) install --progress-bar on -r requirements.lock
	@echo '==> Installing Bilevel itself, editable'
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(INSTALLED)
	@echo '==> Running examples/demo.py'
	@$(BIN)/python examples/demo.py $(ARGS)

up: $(INSTALLED)
	@$(BIN)/bilevel up $(ARGS)

lint: $(INSTALLED)
	@echo '==> ruff check'
	@$(BIN)/ruff check .
	@echo '==> ruff format --check'
	@$(BIN)/ruff format --check .
	@echo '==> mypy --strict'
	@$(BIN)/mypy
	@$(BIN)/mypy deploy/lock.py examples/demo.py examples/demo_figure.py
	@echo '==> import contracts'
	@$(BIN)/lint-imports

test: lint
	@echo '==> pytest'
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --dist worksteal $(ARGS)

format: $(INSTALLED)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# The peers' packages stay out of .venv; what .venv has, torch above all, is read from there.
$(PEERS): $(INSTALLED) pyproject.toml
	@echo '==> Making .venv-bench with the libraries that we compare with'
	@$(PYTHON) -m venv .venv-bench
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		> "$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/base.pth"
	@.venv-bench/bin/python -m pip --disable-pip-version-check install --quiet --constraint requirements.lock $$($(BIN)/python -c \
		'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"])')
	@touch $@

bench: $(PEERS)
	@echo '==> Running the benchmarks'
	@.venv-bench/bin/python -m benchmarks $(ARGS)

lock:
	@$(PYTHON) deploy/check_python.py $(PYTHON)
	@echo '==> Resolving requirements.lock on $(PYTHONS)'
	@$(PYTHON) deploy/lock.py $(PYTHONS)

clean:
	rm -rf .venv .venv-bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
