"""A simulated AI provider: speaks OpenAI, Anthropic and Gemini, misbehaves on request, keeps its own books.

It imports nothing of the gateway, so that what it counted is independent evidence of what was charged.
"""
