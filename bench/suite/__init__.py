"""YAML -> a frozen Suite."""
