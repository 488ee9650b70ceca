"""Pictures, clean or under a stress, embedded once."""
