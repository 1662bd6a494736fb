"""Which task a data set is for."""

from medview.core.errors import ReadError
from medview.inference.networks.slices import slice_axis
from medview.learning.config import AugmentConfig, LossConfig
from medview.learning.tasks.boxes import Detection
from medview.learning.tasks.instances import Instances
from medview.learning.tasks.marks import Marks
from medview.learning.tasks.masks import MaskSegmentation
from medview.learning.tasks.picture_classes import Classification
from medview.learning.tasks.slices import SliceSegmentation
from medview.learning.tasks.solid import VolumeClassification, VolumeDetection
from medview.learning.tasks.task import Recipe, Task
from medview.learning.tasks.video import Motion
from medview.learning.tasks.volumes import VolumeSegmentation

#: The task of flat pictures and that of volumes.
_BY_NAME: dict[str, tuple[type[Task], type[Task] | None]] = {
    "segmentation": (MaskSegmentation, VolumeSegmentation),
    "classification": (Classification, VolumeClassification),
    "detection": (Detection, VolumeDetection),
    "instances": (Instances, None),
    "video": (Motion, None),
    "marks": (Marks, None),
}


#: The engine that reads with a model, where it has another name than the data set's task.
_ENGINES = {"video": "motion"}


def engine_of(name: str) -> str:
    """Give the engine word of a model that learned the task of a data set."""
    return _ENGINES.get(name, name)


def make_task(
    name: str,
    recipe: Recipe,
    loss: LossConfig | None = None,
    augment: AugmentConfig | None = None,
) -> Task:
    """Give the task of a data set by name; it is flat where the recipe's patch is.

    Without a loss the task is for asking and scoring only.
    """
    flat, solid = _BY_NAME.get(name, (None, None))
    kind = solid if len(recipe.patch) == 3 else flat
    if slice_axis(recipe.patch) is not None:
        if kind is not VolumeSegmentation:
            raise ReadError("Only the segmentation of volumes is learned slice by slice.")
        kind = SliceSegmentation
    if kind is None:
        where = " in volumes" if flat else ""
        raise ReadError(f"Data sets for {name} cannot be learned from{where}.")
    chosen = loss or LossConfig(name=min(kind.losses))
    return kind(recipe, chosen, augment or AugmentConfig())
