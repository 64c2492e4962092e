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

# Everything in hypersd/shapes/weights and reports/precomputed, from nothing; hours of two cores.
# Each training goes on from its newest checkpoint, and one that is done is not repeated.
# Read CONTRIBUTING.md first: shipped weights are replaced seldom, evaluators not at all.
TRAIN = python -m hypersd
SHIP = python -m hypersd.shapes.ship

weights:
	$(TRAIN) recipe=shapes_vae
	$(TRAIN) recipe=shapes_vae_robust
	$(TRAIN) recipe=shapes_text
	$(TRAIN) recipe=shapes_teacher
	$(TRAIN) recipe=shapes_teacher_longer
	$(TRAIN) recipe=shapes_teacher_overlaps
	$(SHIP) base
	$(TRAIN) recipe=shapes_clip
	$(TRAIN) recipe=shapes_clip_longer
	$(TRAIN) recipe=shapes_clip_reading
	$(TRAIN) recipe=shapes_hps
	$(TRAIN) recipe=shapes_aesthetic
	$(TRAIN) recipe=shapes_features
	$(TRAIN) recipe=shapes_oracle
	$(TRAIN) recipe=shapes_oracle_longer
	$(TRAIN) recipe=shapes_oracle_validation
	$(SHIP) clip hps aesthetic features oracle oracle_validation
	python -m bench.references real teacher
	$(TRAIN) recipe=shapes_lcm
	$(TRAIN) recipe=shapes_tcd
	$(TRAIN) recipe=shapes_tscd
	$(SHIP) lcm tcd tscd
	python bench.py suite=shapes_1step precomputed=false export=reports/precomputed
