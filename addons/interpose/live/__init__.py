"""What is going on, for a page that is open while it goes on: counted in memory as calls end, bounded whatever comes.

`counts` takes records and answers questions, `rings` keeps sums by time, `question` is what may be asked, `answer` what
is told, `around` what there is beside calls (limits, quotas, the ledger, alerts), `page` the page itself. Where nobody
is served such a page, none of it is imported. The ledger remembers; this forgets.
"""

from .counts import Counts
from .question import Question, QuestionError

__all__ = ["Counts", "Question", "QuestionError"]
