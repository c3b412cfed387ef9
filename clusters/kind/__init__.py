"""Real kind clusters: the images they need, the engine that runs them, and the provider that brings them up."""
