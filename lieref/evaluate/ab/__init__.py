"""A/B tests of two classifiers: how many images, how sure, and whether to go on."""
