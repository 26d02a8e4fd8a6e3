from .labels import split_labels as split_labels
from .listing import FolderImages as FolderImages
from .listing import scan_folders as scan_folders
