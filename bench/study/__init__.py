"""The blind preference study: people choose between two pictures of one prompt."""
