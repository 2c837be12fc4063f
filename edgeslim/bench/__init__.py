"""Latency tables from real devices: every number with its passport.

    cli/bench.py ─► Job ─► Device.measure ─────────────────────────────────────────► events ─► TableFile
                             │ host: here      │ ssh: agent.py on the board             ▲
                             └─────► session.py ──► schedule, Child per cell ──► row.py ┘
                                                       │ JSON lines over pipes
                                                     child.py ─► sampling.py, load.py, machine.py

What is under ``session.py`` also travels to boards: it needs the core, numpy and the runtime's own wheel.
"""
