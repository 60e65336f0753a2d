"""The benchmark a researcher runs: scenario x method x seed in a directory that can be resumed."""
