"""Face verification for Django: versioned ensembles of ONNX networks, enrolled and verified over REST."""
