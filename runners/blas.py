"""How many threads NumPy's matrix products take."""

from __future__ import annotations

from threadpoolctl import ThreadpoolController


def one_blas_thread() -> None:
    """One thread from now on, in this whole process.

    After a larger product OpenBLAS's other threads look for more in a loop, on the cores that the network needs: its
    next call takes twice as long, 87 ms for 64 photos instead of 43 on two cores, and a photo's row in the monitoring
    costs twice the processor time.
    """
    ThreadpoolController().select(user_api="blas").limit(limits=1)
