"""The native API: jobs as they are, for curl and for uploads."""
