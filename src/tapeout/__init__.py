"""Tapeout: from a model and its traffic to a verified chip, its program and the cost of a token."""
