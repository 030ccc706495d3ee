"""Networks as other programs write them: what of each lieref loads, compiles, differentiates, trains and merges."""
