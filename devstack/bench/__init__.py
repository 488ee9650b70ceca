"""`make bench`: how fast the service is, as ratios of one run on one machine. Each file measures one thing."""
