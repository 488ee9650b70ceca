"""Faces in pictures → embeddings → scores → decisions. Runs where Django is not installed."""
