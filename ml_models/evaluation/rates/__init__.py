"""Error rates, each with a 95 % interval."""
