"""Ask several variants of a question about the same rows, and compare answers and costs."""
