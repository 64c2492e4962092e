"""What a run is of: YAML -> a frozen Suite."""
