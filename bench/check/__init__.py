"""Regression checks: a finished run against a baseline, for a team's CI.

folder -> protocol -> verdicts (and limits) -> junit, markdown; `task` holds it together.
"""
