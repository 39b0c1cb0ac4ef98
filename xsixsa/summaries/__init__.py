"""Summaries: spectra of many bins compressed to the few numbers that the posterior estimator sees."""
