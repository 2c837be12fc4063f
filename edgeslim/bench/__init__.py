"""Measuring every width on a device."""
