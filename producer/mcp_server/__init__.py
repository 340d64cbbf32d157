"""`visionq mcp`: tools for agents, within folders and a budget."""
