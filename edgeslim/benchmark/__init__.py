"""Latency tables from real devices: every number with its passport.

cli/bench.py ─► Job ─► Device.measure ──────────────────────────────────────────────► events ─► TableFile
                         │ host: here      │ ssh: agent.py on the board                  ▲
                         └─────► measuring.py ──► schedule, Child per cell ──► row.py ──┘
                                                    │ JSON lines over pipes
                                                  child.py ─► host/sampling, host/load, host/machine

board/   what travels to a board: it needs the core, numpy and the runtime's own wheel
desk/    this side: devices, what is sent, what comes back
table/   reading, comparing and plotting tables
"""
