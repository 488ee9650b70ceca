"""Keys for kiosks: a long-lived credential that acts for a service account and can be revoked by itself."""
