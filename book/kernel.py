"""The kernel that chapters run in: this interpreter, whatever this machine calls "python3"."""

from typing import Any

# Where HOME cannot be written, Matplotlib says so when it is first imported, and tells its children where to write: so
# it is imported here, and no chapter's first cell says it.
import matplotlib.font_manager  # noqa: F401
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default


class Specs(KernelSpecManager):
    """Knows one kernel. A spec on JUPYTER_PATH may start another Python, or none."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return self.kernel_spec_class(resource_dir=RESOURCES, **get_kernel_dict())


class Kernel(AsyncKernelManager):
    """For nbclient and papermill: `kernel_manager_class=Kernel`."""

    @default("kernel_spec_manager")
    def _specs(self) -> Any:
        return Specs(parent=self)
