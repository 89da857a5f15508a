"""OpenAI Chat Completions: encoder, decoder and relay."""
