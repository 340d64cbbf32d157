"""Facts of a picture from its header: kind, size, frames."""
