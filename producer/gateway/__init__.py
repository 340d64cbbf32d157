"""The HTTP gateway: OpenAI's own asynchronous API, and a small one of ours for curl."""
