"""Results -> intervals, comparisons, claims."""
