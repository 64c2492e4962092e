"""A contestant's settings -> its identity and a source of pictures."""
