"""LoRA files of any trainer: read completely or refused, and merged exactly."""
