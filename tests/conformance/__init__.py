"""sktime's own conformance suite, with nothing left out, on every estimator of ours: `make conformance`."""
