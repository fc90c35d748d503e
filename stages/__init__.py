"""A pipeline that trains, tunes and judges a person detector: one module a stage, and the subjects that they share."""
