"""Measurements, in pairs: this project beside the bare library that does the work."""
