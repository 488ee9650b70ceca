"""Evidence: pair lists in, error rates with intervals out. No Django here except through the commands."""
