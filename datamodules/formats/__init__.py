"""File formats: from a file's bytes to a grey picture, with a record of what was done and what was passed over.

``files`` reads regular files alone, ``limits`` refuses what is too large before it is decoded, ``raster`` has PNG, JPEG
and their like, ``dicom`` has DICOM: ``dicom_tags`` reads tags that may be broken, ``codestream`` and ``dicom_codecs``
decompress, ``lookup`` and ``display`` go from stored values to greys. From outside, use `datamodules.decode`.
"""
