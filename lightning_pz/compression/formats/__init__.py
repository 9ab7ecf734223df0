"""Files of compressed policies: codecs, writer and reader, sizes."""
