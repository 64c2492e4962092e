"""The embedded world: procedural scenes and the small models trained on them."""
