"""``python -m xsixsa``."""

import sys

from xsixsa.cli import main

sys.exit(main())
