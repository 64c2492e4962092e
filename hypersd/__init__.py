"""Trainers of few-step diffusion models: LCM, TCD and Hyper-SD's TSCD on one loop."""
