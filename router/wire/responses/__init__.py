"""OpenAI Responses, as a caller's dialect."""
