"""`python -m bench`: as `python bench.py`, wherever the project is installed."""

from bench.cli import main

raise SystemExit(main())
