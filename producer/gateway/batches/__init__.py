"""OpenAI's batches: a file of requests in, files of answers and errors out."""
