"""Contract tests: subclass one, set its attributes, and pytest runs what every model, loss or metric owes.

```python
class TestMine(ModelContract):
    config = MatrixFactorizationConfig(embedding_size=8)
```
"""

from distilrec.testing.losses import LossContract
from distilrec.testing.methods import ClusterTeacher, MethodContract
from distilrec.testing.metrics import MetricContract
from distilrec.testing.models import DotProductContract, ModelContract, SequenceContract, UserContract

__all__ = [
    "ClusterTeacher",
    "DotProductContract",
    "LossContract",
    "MethodContract",
    "MetricContract",
    "ModelContract",
    "SequenceContract",
    "UserContract",
]
