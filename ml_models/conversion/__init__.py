"""Turns other people's model files into artifacts. Needs `onnx`; the serving app never imports it."""
