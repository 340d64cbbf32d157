"""Call the provider and read its reply.

`request` builds the call, `client` and `ask` make it, `answer` reads it, `faults` names what went
wrong. Only `client` and `ask` import the `openai` package, which takes two seconds: the rest is
pure and quick to import.
"""
