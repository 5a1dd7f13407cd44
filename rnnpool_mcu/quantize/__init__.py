"""From a float torch model to one with int8 quantize/dequantize nodes, by torchao's PT2E flow."""

from __future__ import annotations

import logging

# torchao warns at import about accelerator libraries that a CPU-only machine has no use for.
logging.getLogger("torchao").setLevel(logging.ERROR)
logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
