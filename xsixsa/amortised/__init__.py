"""One network for many spectra: training, exact correction of each spectrum, calibration."""
