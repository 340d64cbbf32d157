"""A line for each command, so that `visionq --help` imports none of them."""

from __future__ import annotations

from typing import Final

#: Command → the first sentence of its own help.
SUMMARIES: Final = {
    "ask": "Ask one question about one or several pictures: files, or http(s) addresses.",
    "budget": "Set, show or clear what a tenant or a batch may spend.",
    "dead-letters": "Look at messages that no worker could work on; send them again, or drop them.",
    "demo": "Show everything at work: real pictures, no key, in under a minute.",
    "doctor": "Look at Redis, provider, workers and data files, and say what to do.",
    "export": "Make a table from the JSONL of `visionq run`, even while it is being written.",
    "exporter": "Export the state of the whole fleet to Prometheus: GET /metrics.",
    "flower": "Show tasks and workers in a browser, behind a user and a password.",
    "gate": "Show, close or open the gate that stops all calls to the provider.",
    "gateway": "Serve OpenAI's API, and a small one for curl, to clients with a key.",
    "health": "Exit 0 if every worker of this machine makes progress, else 1.",
    "jobs": "Look at jobs, cancel them, and ask again what failed.",
    "keys": "Create, list and revoke the keys of the gateway.",
    "limits": "Show, set or clear what may be asked of each model in a minute.",
    "prices": "Show what calls cost; check and update a table of your own.",
    "quote": "Show the price of asking about SOURCE, without asking.",
    "run": "Ask one question about every picture of SOURCE, and write the answers to OUT.",
    "runs": "Look at runs that go on without a terminal, and stop them.",
    "simulator": "Run a simulated ProxyAPI on this machine.",
    "spend": (
        "Show what was paid, reserved, saved, and what calls of unknown billing may have cost."
    ),
    "status": "Show backlog, rate, workers, gate and spend on one screen.",
    "up": "Run everything on this machine until it is stopped.",
    "webhooks": "Notify an address when a tenant's jobs and batches end; list deliveries.",
    "worker": "Run one worker process; one for each core is right.",
}
