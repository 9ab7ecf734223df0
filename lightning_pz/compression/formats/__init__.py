"""Files of compressed policies: codecs, the loader, ONNX, and what each of them weighs."""
