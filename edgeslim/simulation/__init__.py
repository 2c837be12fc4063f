"""A model of a device, to judge controller policies."""
