"""Benchmarks: time, quality and survival of kills, beside bare libraries where there are any."""
