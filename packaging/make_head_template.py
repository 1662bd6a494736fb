"""Make resources/templates/mni152: the head template of `medview.imaging.localise`.

Run in medview's environment, from the repository: `python packaging/make_head_template.py`.
Input: the ICBM 152 2009a template and tissue maps that nilearn carries (1 mm). Output: averages
of 2 x 2 x 2 voxels, stored in LPS order. The same input gives the same bytes.
"""

from pathlib import Path

import nilearn.datasets
import numpy as np
import numpy.typing as npt
import SimpleITK

FOLDER = Path(__file__).resolve().parent.parent / "resources" / "templates" / "mni152"
SOURCE = Path(nilearn.datasets.__file__).parent / "data"
NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
CSF, GREY, WHITE, MIXED = 1, 2, 3, 4

Array = npt.NDArray[np.floating]


def read(kind: str) -> SimpleITK.Image:
    """One of nilearn's maps in LPS order."""
    image = SimpleITK.ReadImage(str(SOURCE / NAME.format(kind)), SimpleITK.sitkFloat32)
    return SimpleITK.DICOMOrient(image, "LPS")


def halved(image: Array) -> Array:
    """Means of blocks of 2 x 2 x 2."""
    k, j, i = (size // 2 for size in image.shape)
    blocks = image[: 2 * k, : 2 * j, : 2 * i].reshape(k, 2, j, 2, i, 2)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), dtype=np.float32)


def tissue_map(brain: Array, grey: Array, white: Array) -> npt.NDArray[np.uint8]:
    """What each voxel surely is; MIXED where that is not sure, 0 outside the brain."""
    tissues = np.where(brain >= 0.5, MIXED, 0).astype(np.uint8)
    tissues[(brain >= 0.99) & (grey + white < 0.25)] = CSF
    tissues[(brain >= 0.5) & (grey > 0.75)] = GREY
    tissues[(brain >= 0.5) & (white > 0.9)] = WHITE
    return tissues


def main() -> None:
    """Write both images, on the halved grid of the source."""
    t1, grey, white = (read(kind) for kind in ("t1", "gm", "wm"))
    intensities = SimpleITK.GetArrayFromImage(t1)
    tissues = tissue_map(
        halved((intensities > 0).astype(np.float32)),
        halved(SimpleITK.GetArrayFromImage(grey)) / 255,
        halved(SimpleITK.GetArrayFromImage(white)) / 255,
    )
    brain = np.where(tissues > 0, np.rint(halved(intensities)), 0).astype(np.uint8)
    FOLDER.mkdir(parents=True, exist_ok=True)
    spacing = np.array(t1.GetSpacing())
    first = np.array(t1.GetOrigin()) + spacing / 2
    np.savez_compressed(
        FOLDER / "head.npz", t1=brain, tissues=tissues, first_lps_mm=first, spacing_mm=spacing * 2
    )


if __name__ == "__main__":
    main()
