"""Sessions on the destination: how they are made, where they lead, what they name, and what becomes of silent ones."""
