from .patients import PatientRegistry as PatientRegistry
from .table import label_columns as label_columns
from .table import load_tables as load_tables
