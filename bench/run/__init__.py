"""Plan, make, score, summarise: what leaves a run folder."""
