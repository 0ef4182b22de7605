"""What a run leaves on disk: raw facts, no judgement."""
