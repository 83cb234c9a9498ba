# localllm: `make run` opens the app, `make test` checks everything. Both need only Python, a C/C++ compiler and make.

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN     = $(VENV)/Scripts
endif

.PHONY: run test soak starter install install-dev binary pins lint clean offload test-lowest

run: install starter         ## Install, get the starter set, open the app (without a terminal: answer one question)
	@if [ -t 0 ] && [ -t 1 ]; then $(BIN)/localllm; \
	else $(BIN)/localllm ask "In one sentence: what is a language model?" -n 48; fi

test: install-dev starter    ## Lint, types, the built wheel, and every test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tests/check_wheel.py
	$(BIN)/python -m pytest

soak: install-dev starter    ## The full counts of the long harnesses; goes on where it stopped
	$(BIN)/python tests/soak.py

starter: install             ## Put the starter models into models/
	@$(BIN)/localllm models pull starter --to models

binary: build/venv/installed  ## The packaged program, in dist/localllm
	build/venv/bin/python -m PyInstaller --noconfirm --log-level WARN build.spec
	mkdir -p dist/localllm/models && cp models/README.md dist/localllm/models/
	@echo "Built dist/localllm/localllm"

# Environments with a llama.cpp of their own (a baseline processor for the packaged program; the RPC backend): without
# pip's cache, which may hold a build for this very processor.
build/venv/installed: CMAKE = -DGGML_NATIVE=OFF
build/rpc/installed: CMAKE = -DGGML_RPC=ON
build/venv/installed build/rpc/installed: requirements.txt requirements-dev.txt
	$(PYTHON) -m venv $(@D)
	CMAKE_ARGS="$(CMAKE)" $(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
		--no-cache-dir --require-hashes --no-deps -r requirements.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
		-r requirements-dev.txt
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

install: $(VENV)/installed
install-dev: $(VENV)/installed-dev

$(VENV)/bin-python:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/bin-python requirements.txt pyproject.toml
	@echo "Installing; llama.cpp is compiled for this processor, which takes a few minutes the first time."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	@touch $@

offload: build/rpc/installed  ## Test offloading through a software device: llama.cpp's RPC backend on loopback
	build/rpc/bin/python -m pytest tests/test_offload.py

test-lowest: starter          ## The tests with the oldest dependencies that pyproject.toml allows
	$(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install --quiet --require-hashes --no-deps -r requirements-dev.txt
	build/lowest/bin/python -m pip install --quiet $$($(PYTHON) bench/lowest.py)  # last: the tools pin newer ones
	build/lowest/bin/python -m pip install --quiet --no-deps -e .
	build/lowest/bin/python -m pytest

pins:                        ## Renew the pinned versions (needs pip-tools)
	$(BIN)/pip-compile $(PIN_OPTIONS) -o requirements.txt pyproject.toml
	$(BIN)/pip-compile $(PIN_OPTIONS) -o requirements-dev.txt requirements-dev.in
PIN_OPTIONS = --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

clean:                       ## Remove what can be built again
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
