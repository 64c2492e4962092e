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
	$(TRAIN) recipe=shapes_oracle_covered
	$(TRAIN) recipe=shapes_oracle_validation
	$(SHIP) clip hps aesthetic features oracle oracle_validation
	python -m bench.run.references real teacher
	$(TRAIN) recipe=shapes_lcm
	$(TRAIN) recipe=shapes_tcd
	$(TRAIN) recipe=shapes_tscd
	$(SHIP) lcm tcd tscd
	$(TRAIN) recipe=shapes_pcm
	$(TRAIN) recipe=shapes_dmd
	$(TRAIN) recipe=shapes_dmd2
	$(TRAIN) recipe=shapes_lightning
	$(TRAIN) recipe=shapes_lightning_unet
	$(TRAIN) recipe=shapes_hyper_sd_tscd
	$(TRAIN) recipe=shapes_tcd_shorter
	$(TRAIN) recipe=shapes_tscd_dmd
	$(TRAIN) recipe=shapes_tcd_dmd
	$(SHIP) pcm dmd dmd2 tscd_dmd tcd_dmd lightning_unet
	$(SHIP) lightning_1step lightning_2step lightning_4step lightning_8step
	$(TRAIN) recipe=shapes_image_reward
	$(TRAIN) recipe=shapes_pick
	$(TRAIN) recipe=shapes_reward_clip
	$(TRAIN) recipe=shapes_reward_aesthetic
	$(TRAIN) recipe=shapes_segmenter
	$(TRAIN) recipe=shapes_validation_raters
	$(SHIP) image_reward pick reward_clip reward_aesthetic segmenter validation_raters
	$(TRAIN) recipe=shapes_lcm_feedback
	$(TRAIN) recipe=shapes_tcd_feedback
	$(TRAIN) recipe=shapes_tscd_feedback
	$(TRAIN) recipe=shapes_lightning_feedback
	$(SHIP) lcm_feedback tcd_feedback tscd_feedback lightning_feedback
	$(TRAIN) recipe=shapes_hyper_sd_8step
	$(TRAIN) recipe=shapes_hyper_sd_4step
	$(TRAIN) recipe=shapes_hyper_sd_2step
	$(TRAIN) recipe=shapes_hyper_sd_unified
	$(TRAIN) recipe=shapes_hyper_sd_1step_unet
	$(SHIP) hyper_sd_8step hyper_sd_4step hyper_sd_2step hyper_sd_unified hyper_sd_1step_unet
	python bench.py suite=shapes_1step precomputed=false export=reports/precomputed
