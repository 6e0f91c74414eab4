"""A real agent session in conversation, with no keys, no server and no sound card."""
