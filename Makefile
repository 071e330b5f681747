# The commands of the project. `make serve` and `make test` do everything that they need on a fresh machine.
PORT ?= 3000
MLFLOW_PORT ?= 5000
PYTHON ?= python3
IMAGE ?= cifar
VENV := .venv
BIN := $(VENV)/bin
export BENTOML_HOME ?= $(CURDIR)/var/bentoml
export BENTOML_DO_NOT_TRACK ?= True
CONFIG ?= training/standard.yaml
CLASSES ?= training/classes.yaml

BENCHES := $(addprefix bench-,serving drift monitoring resampling preparation balance ablation seeds calibration gate gate-training fit-speed score start page closed-loop)

.PHONY: serve test train mlflow bento container release-check lint format lock clean bench $(BENCHES)

serve: $(VENV)/.ready
	@$(BIN)/python -m runners starters
	@$(BIN)/python -c "import socket,sys; s=socket.socket(); s.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1); sys.exit('error: port $(PORT) is taken; choose another: make serve PORT=3001') if s.connect_ex(('127.0.0.1',$(PORT)))==0 else 0"
	@PORT=$(PORT) BIN=$(BIN) sh scripts/serve.sh

test: $(VENV)/.ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy .
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 20

train: $(VENV)/.ready
	@$(BIN)/python -m training all --config $(CONFIG) --classes $(CLASSES)

mlflow: $(VENV)/.ready
	@$(BIN)/python scripts/mlflow_page.py $(MLFLOW_PORT)

bento: $(VENV)/.ready
	@$(BIN)/python -m runners starters
	@$(BIN)/python scripts/bento.py

container: $(VENV)/.ready
	@$(BIN)/python -m runners starters
	@BIN=$(BIN) IMAGE=$(IMAGE) sh scripts/container.sh

release-check:
	@PYTHON=$(PYTHON) PORT=$(PORT) sh scripts/release_check.sh

bench: $(BENCHES)

bench-drift: var/drift-peers/.ready
$(BENCHES): $(VENV)/.ready
	@$(BIN)/python -m bench.$(subst -,_,$(@:bench-%=%))

var/drift-peers/.ready: bench/requirements-drift-peers.txt $(VENV)/.ready
	@$(BIN)/uv venv -q --clear --python $(BIN)/python $(@D) && $(BIN)/uv pip install -q --python $(@D)/bin/python -r $<
	@touch $@

lint: $(VENV)/.ready
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy .

format: $(VENV)/.ready
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lock: $(VENV)/.ready
	@sh scripts/lock.sh $(BIN)/uv

clean:
	rm -rf $(VENV)

$(VENV)/.ready: requirements.lock scripts/install.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) sh scripts/install.sh
