"""Records to samples, samples to bytes: what ``/metrics`` says, and how it is ready before anyone asks."""
