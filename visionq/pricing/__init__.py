"""What a picture costs: tokens, prices, models and their ends."""
