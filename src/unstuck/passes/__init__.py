"""What one pass through a model lets one see: layer by layer, unit by unit, sample by sample."""
