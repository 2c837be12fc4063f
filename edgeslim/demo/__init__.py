"""The whole road in one command: runs the verbs a person would type, then writes one page about it."""
