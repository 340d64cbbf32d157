"""OpenAI's API: requests read as jobs, jobs told as answers."""
