"""Which pictures are compared, and of whom they are."""
