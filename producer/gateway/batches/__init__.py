"""Batches of OpenAI's form: a file of requests in, files of answers and of errors out."""
