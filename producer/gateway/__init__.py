"""The HTTP gateway: OpenAI's asynchronous API, and a small native one for curl."""
