"""AdaFace, from the author's PyTorch file to a proven ONNX file."""
