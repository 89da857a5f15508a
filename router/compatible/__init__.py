"""Any OpenAI-compatible server on the internet as the cloud side."""
