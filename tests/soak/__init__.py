"""The soak: simulated browsers use the shop for a time while its store is restarted and
its workers are killed, and a model says what their sessions must hold.

``python -m tests.soak chaos`` for that, ``python -m tests.soak million`` for very many
sessions and the memory of the workers.
"""

import sys
from pathlib import Path

# What starts servers is shared with the tests, which are not a package.
sys.path.append(str(Path(__file__).parent.parent))
