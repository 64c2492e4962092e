"""A run for people: a page, a PDF and tables (`write.write`), and a table in the terminal."""
