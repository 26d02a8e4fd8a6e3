from .make import make_pairs as make_pairs
from .manifest import ManifestRow as ManifestRow
from .manifest import read_manifest as read_manifest
from .match import match_pairs as match_pairs
