"""Everything on one machine: the processes of `visionq up`, started, watched and ended."""
