"""Claude and Gemini, through their SDKs. Nothing outside imports an SDK."""
