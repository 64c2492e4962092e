# Needs the test extra: pip install -e '.[test]'
.PHONY: check format lint types test browser slow weights

check: lint types test

lint:
	ruff format --check .
	ruff check .

types:
	mypy

test:
	pytest

format:
	ruff format .
	ruff check --fix .

browser:
	pytest -m browser

slow:
	pytest -m slow

# Everything in hypersd/shapes/weights and reports/precomputed, from nothing; a day of two cores.
# Each training goes on from its newest checkpoint, and one that is done is not repeated.
# Read CONTRIBUTING.md first: shipped weights are replaced seldom, evaluators not at all.
weights:
	python -m hypersd.shapes.make
	python -m bench.run.references
	python bench.py suite=shapes_1step precomputed=false export=reports/precomputed
