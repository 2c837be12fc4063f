"""Fails when it is imported, as a plug-in for another version would."""

raise ImportError("cannot import name 'OldThing' from 'edgeslim.targets.base'")
