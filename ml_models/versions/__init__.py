"""A version's life on paper: its file, its numbers, what must hold before it goes live, what was measured."""
