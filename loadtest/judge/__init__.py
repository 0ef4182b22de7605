"""From records to answers: pure functions, no file, no clock, no sentence."""
