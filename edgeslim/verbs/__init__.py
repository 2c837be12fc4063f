"""What every verb does, as a typed function: the command line fills its options, Python users call it.

    cli/<verb>.py ─► <Verb>Options ─► verbs/<verb>.py ─► models, training, deploy, … ─► <Verb>Report
    edgeslim.<verb>(…, options) ───────────┘

Nothing here prints; what happens on the way is told to a watcher.
"""
