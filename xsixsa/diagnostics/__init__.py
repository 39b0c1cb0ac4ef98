"""Goodness of fit and other checks of a finished run."""
