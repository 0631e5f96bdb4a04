# Two commands matter: `make run` and `make test`. Both install what they need and are safe to repeat.
PYTHON ?= python3
BIN := .venv/bin
PROTOS := $(sort $(shell find protos/feed -name '*.proto'))
SERVICES := graph_svc post_svc timeline_svc fanout_svc
THROUGH_THE_WIRE := tests/rpc tests/mesh tests/timeline/test_servicer.py tests/timeline/test_servicer_sources.py \
	tests/fanout/test_fanout_rpc.py tests/fanout/test_dead_letters.py
GEN ?= gen
ARGS ?=
ONLY ?=
ENGINES ?= embedded

.DEFAULT_GOAL := help
.PHONY: help setup run test test-dynamodb-local chaos coverage bench bench-smoke bench-tools capacity lint format gen lock clean engines-embedded engines-real

help: ## Show what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-19s %s\n", $$1, $$2}'

run: .venv/run.stamp engines-$(ENGINES) ## Start the whole mesh; the first line is its address. ENGINES=real for RabbitMQ and DynamoDB
	@$(BIN)/feedmesh up --engines $(ENGINES) $(ARGS)

# Tests of a whole mesh promise times, and so have the machine to themselves.
WHOLE_MESH := tests/mesh tests/chaos

test: .venv/dev.stamp engines-real bench-tools ## Run every test on every engine; ARGS="-k name" for some
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(WHOLE_MESH:%=--ignore=%)
	$(BIN)/python -m pytest $(WHOLE_MESH)
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-dynamodb-local: .venv/dev.stamp ## Run the table tests on AWS's own DynamoDB Local too; needs Java 17 and Maven
	FEEDMESH_TEST_DYNAMODB=local $(BIN)/python -m pytest tests/contract -k "table" $(ARGS)

chaos: .venv/dev.stamp engines-$(ENGINES) ## Break everything under load and compare every feed; SEED=n replays, ENGINES=real
	$(BIN)/python -m tests.chaos --engines $(ENGINES) $(if $(SEED),--seed $(SEED)) $(ARGS)

# The embedded engines come with the requirements.
engines-embedded:

engines-real:
	@./scripts/install-engines

# Lines that run in processes of their own are not seen, so the set-ups that have them are left out.
coverage: .venv/dev.stamp ## Check that tests through gRPC and REST reach 90 % of the services' lines
	$(BIN)/python -m pytest -q $(SERVICES:%=--cov=%) --cov-report=term-missing --cov-fail-under=90 -k 'not real' $(THROUGH_THE_WIRE)

bench: .venv/dev.stamp engines-real bench-tools ## Measure the mesh beside what the machine can do; ONLY=read for some, SMOKE=1
	$(BIN)/python -m bench $(if $(ONLY),--only '$(ONLY)') $(if $(SMOKE),--smoke) $(ARGS)

bench-smoke: ## See in a minute whether every figure can be measured
	@$(MAKE) --no-print-directory bench SMOKE=1

bench-tools:
	@./scripts/install-bench-tools

capacity: .venv/dev.stamp ## Work out from the last bench what a large service needs; ARGS="--help"
	@$(BIN)/python -m bench.capacity $(ARGS)

lint: .venv/dev.stamp ## Check contracts, style and types
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	@PATH="$(CURDIR)/$(BIN):$$PATH" ./scripts/check-breaking
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/dev.stamp ## Format contracts and code
	$(BIN)/buf format --write
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

gen: .venv/dev.stamp ## Generate gen/ from protos/
	@rm -rf $(GEN) && mkdir -p $(GEN)/feed
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -Iprotos \
	  --python_out=$(GEN) --grpc_python_out=$(GEN) --mypy_out=quiet:$(GEN) --mypy_grpc_out=quiet:$(GEN) \
	  --descriptor_set_out=$(GEN)/feed/descriptors.binpb --include_imports --include_source_info $(PROTOS)

lock: ## Pin every dependency again, with hashes
	@UV=.venv/bin/uv; [ -x $$UV ] || $(BIN)/pip install --quiet uv; \
	$$UV pip compile --quiet --universal --generate-hashes --no-header --extra engines --group build pyproject.toml -o requirements.lock; \
	$$UV pip compile --quiet --universal --generate-hashes --no-header --extra engines --group dev pyproject.toml -o requirements-dev.lock

setup: .venv/dev.stamp ## Install everything for development into .venv

$(BIN)/pip:
	@./scripts/make-venv "$(PYTHON)"

.venv/run.stamp: requirements.lock pyproject.toml | $(BIN)/pip
	@echo "Installing Feedmesh into .venv ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

.venv/dev.stamp: requirements-dev.lock .venv/run.stamp
	@echo "Installing the development tools into .venv ..." >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

clean: ## Remove the environment, the data of `make run`, and what was fetched
	rm -rf .venv .feedmesh .cache
