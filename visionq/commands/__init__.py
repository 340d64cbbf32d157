"""The command line's own commands and what all commands share: records, errors, exit codes."""
