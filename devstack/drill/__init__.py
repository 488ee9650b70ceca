"""`make rollout-drill`: a rollout under traffic, with everything killed once, and its pace. Needs the LFW photos of
`../shared/data/dev_eval`; keeps nothing of them."""
