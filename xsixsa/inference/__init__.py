"""From simulations to a first posterior: proposals, the neural posterior estimator, rounds."""
