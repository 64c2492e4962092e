"""Published networks that judge images: one file per family, weights from the hub or a folder."""
