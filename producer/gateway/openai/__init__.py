"""OpenAI's API: requests become jobs, jobs become responses."""
