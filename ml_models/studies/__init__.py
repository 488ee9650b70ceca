"""A version loaded to be measured: calibrated, evaluated, compared. For commands, and for jobs of the panel."""
