"""Files on disk: result.json, run folders, checksummed entries, pictures."""
