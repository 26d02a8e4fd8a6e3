from .check import CheckReport as CheckReport
from .check import check_data as check_data
from .text import print_report as print_report
