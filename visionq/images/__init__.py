"""What the bytes of a picture say before any is decoded: its kind, its size, its frames."""
