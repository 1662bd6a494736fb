"""Every compression of still pictures, from encoders that are none of ours: the same pixels."""

from __future__ import annotations

import io
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from medview.core.errors import ReadError
from medview.io.pixels import Doubtful
from tests.helpers.codec_files import decoded, dicom_bytes, fragments, run_lengths

JPEG = "1.2.840.10008.1.2.4."
RLE = "1.2.840.10008.1.2.5"
Pixels = npt.NDArray[Any]


def picture(rows: int = 61, columns: int = 46, bits: int = 8) -> Pixels:
    """A smooth picture with noise, of odd size, up to the ends of its range."""
    y, x = np.mgrid[:rows, :columns]
    smooth = (np.sin(x / 9) + np.cos(y / 7) + 2) / 4
    noise = np.random.default_rng(5).normal(0, 0.02, smooth.shape)
    top = (1 << bits) - 1
    stored = np.clip((smooth + noise) * top, 0, top)
    return stored.astype(np.uint8 if bits <= 8 else np.uint16)


def colours(rows: int = 61, columns: int = 46) -> Pixels:
    grey = picture(rows, columns)
    return np.stack([grey, grey[::-1], 255 - grey], axis=-1)


def first(data: bytes) -> Pixels:
    """The pixels of the one frame of a file, which must be beyond doubt."""
    (frame,) = decoded(data)
    if isinstance(frame, ReadError):
        raise frame
    assert not isinstance(frame, Doubtful), frame.reason
    return frame


def one(pixels: Pixels, syntax: str, stream: bytes, **attributes: Any) -> Pixels:
    return first(dicom_bytes(pixels, syntax, fragments(stream), **attributes))


GREY: dict[str, tuple[str, int, Callable[[Pixels], bytes]]] = {
    "JPEG-LS": (JPEG + "80", 16, imagecodecs.jpegls_encode),
    "JPEG-LS of 8 bits": (JPEG + "80", 8, imagecodecs.jpegls_encode),
    "JPEG 2000": (JPEG + "90", 16, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K")),
    "JPEG 2000 of 8 bits": (
        JPEG + "90", 8, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K")),
    "JPEG 2000 in boxes": (
        JPEG + "90", 12, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="JP2")),
    "high-throughput JPEG 2000": (
        JPEG + "201", 16, lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
    "run lengths": (RLE, 16, run_lengths),
    "run lengths of 8 bits": (RLE, 8, run_lengths),
    "JPEG XL": (JPEG + "110", 16, lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
    "deflated frames": ("1.2.840.10008.1.2.8.1", 16, lambda a: deflated(a.tobytes())),
    "plain frames": ("1.2.840.10008.1.2.1.98", 16, lambda a: a.tobytes()),
}  # fmt: skip


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("name", GREY)
def test_lossless_grey(name: str) -> None:
    syntax, bits, encode = GREY[name]
    truth = picture(bits=bits)
    found = one(truth, syntax, bytes(encode(truth)), BitsStored=bits, HighBit=bits - 1)
    assert found.dtype == truth.dtype
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [2, 8, 12, 16])
def test_lossless_jpeg_with_every_predictor(predictor: int, bits: int) -> None:
    truth = picture(bits=bits)
    stream = imagecodecs.jpeg8_encode(truth, lossless=True, predictor=predictor, bitspersample=bits)
    found = one(truth, JPEG + "57", stream, BitsStored=bits, HighBit=bits - 1)
    assert np.array_equal(found, truth)


@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_lossless_jpeg_in_colour(predictor: int) -> None:
    truth = colours()
    stream = imagecodecs.jpeg8_encode(
        truth, lossless=True, predictor=predictor, colorspace="RGB", outcolorspace="RGB"
    )
    assert np.array_equal(one(truth, JPEG + "57", stream), truth)


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (JPEG + "80", imagecodecs.jpegls_encode),
        (JPEG + "90", lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K", mct=True)),
        (JPEG + "90", lambda a: imagecodecs.jpeg2k_encode(a, codecformat="J2K", mct=False)),
        (JPEG + "201", lambda a: imagecodecs.htj2k_encode(a, reversible=True)),
        (JPEG + "110", lambda a: imagecodecs.jpegxl_encode(a, lossless=True)),
        (RLE, run_lengths),
    ],
)
def test_lossless_colour(syntax: str, encode: Callable[[Pixels], bytes]) -> None:
    truth = colours()
    assert np.array_equal(one(truth, syntax, bytes(encode(truth))), truth)


@pytest.mark.parametrize("signed", [False, True])
def test_values_of_twelve_bits_keep_their_sign(signed: bool) -> None:
    truth = picture(bits=12).astype(np.int16 if signed else np.uint16)
    truth -= 2048 if signed else 0
    stored = (truth & 0xFFF).astype(np.uint16)
    stream = imagecodecs.jpegls_encode(stored)
    found = one(truth, JPEG + "80", stream, BitsStored=12, HighBit=11)
    assert found.dtype == truth.dtype
    assert np.array_equal(found, truth)


def test_jpeg_2000_that_disagrees_about_the_sign_gives_what_the_header_says() -> None:
    truth = (picture(bits=12).astype(np.int32) - 2048).astype(np.int16)
    stream = imagecodecs.jpeg2k_encode(truth, codecformat="J2K")
    found = one(truth.view(np.uint16), JPEG + "90", stream)
    assert np.array_equal(found, truth.view(np.uint16))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_in_colour_is_what_pillow_makes_of_it(
    options: dict[str, Any], subsampling: int
) -> None:
    stream = io.BytesIO()
    Image.fromarray(colours()).save(stream, "JPEG", subsampling=subsampling, **options)
    data = stream.getvalue()
    truth = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    found = one(colours(), JPEG + "50", data, PhotometricInterpretation="YBR_FULL_422")
    assert np.abs(found.astype(int) - truth).max() <= 1


@pytest.mark.parametrize("bits", [8, 12])
def test_lossy_grey_is_what_simpleitk_makes_of_it(tmp_path: Path, bits: int) -> None:
    import SimpleITK

    truth = picture(bits=bits)
    stream = imagecodecs.jpeg8_encode(truth, level=90, bitspersample=bits)
    data = dicom_bytes(
        truth, JPEG + ("50" if bits == 8 else "51"), fragments(stream),
        BitsStored=bits, HighBit=bits - 1,
    )  # fmt: skip
    (tmp_path / "x.dcm").write_bytes(data)
    other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "x.dcm")))[0]
    assert np.abs(first(data).astype(int) - other).max() <= 1


@pytest.mark.parametrize(
    "how",
    [
        ("+ee",),
        ("+ep",),
        ("+es",),
        ("+el",),
        ("+e1",),
        ("+el", "+sv", "6"),
        ("+eb",),
    ],
)
@pytest.mark.parametrize("bits", [8, 12])
def test_what_dcmtk_wrote_and_reads(tmp_path: Path, how: tuple[str, ...], bits: int) -> None:
    """Extended, spectral selection, progressive, lossless: dcmcjpeg and dcmdjpeg of dcmtk."""
    if shutil.which("dcmcjpeg") is None:
        pytest.skip("needs dcmtk")
    truth = picture(64, 80, bits)
    plain, packed, back = (tmp_path / name for name in ("a.dcm", "b.dcm", "c.dcm"))
    plain.write_bytes(dicom_bytes(truth, BitsStored=bits, HighBit=bits - 1))
    subprocess.run(["dcmcjpeg", *how, plain, packed], capture_output=True, check=True)
    subprocess.run(["dcmdjpeg", packed, back], capture_output=True, check=True)
    found, witness = first(packed.read_bytes()), first(back.read_bytes())
    assert np.abs(found.astype(int) - witness).max() <= 1


def test_two_chroma_samples_for_four_pixels() -> None:
    truth = colours(40, 46)
    luma = picture(40, 46)
    packed = np.empty((40, 23, 4), np.uint8)
    packed[..., 0], packed[..., 1] = luma[:, ::2], luma[:, 1::2]
    packed[..., 2], packed[..., 3] = truth[:, ::2, 1], truth[:, ::2, 2]
    data = dicom_bytes(truth, ExplicitVRLittleEndian, packed.tobytes(),
                       PhotometricInterpretation="YBR_FULL_422")  # fmt: skip
    chroma = np.repeat(packed[..., 2:], 2, axis=1).astype(float) - 128
    y = luma.astype(float)
    expected = np.stack(
        [
            y + 1.402 * chroma[..., 1],
            y - 0.344136 * chroma[..., 0] - 0.714136 * chroma[..., 1],
            y + 1.772 * chroma[..., 0],
        ],
        axis=-1,
    )
    expected = np.clip(np.rint(expected), 0, 255)
    assert np.abs(first(data).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_planes_one_after_the_other(planar: int, photometric: str) -> None:
    truth = colours()
    raw = np.moveaxis(truth, -1, 0).tobytes() if planar else truth.tobytes()
    data = dicom_bytes(truth, ExplicitVRLittleEndian, raw, PlanarConfiguration=planar,
                       PhotometricInterpretation=photometric)  # fmt: skip
    expected = truth
    if photometric == "YBR_FULL":
        expected = np.asarray(Image.fromarray(truth, "YCbCr").convert("RGB"))
    assert np.abs(first(data).astype(int) - expected).max() <= 1


def test_colour_of_sixteen_bits_keeps_its_upper_eight() -> None:
    truth = colours().astype(np.uint16) * 257
    assert np.array_equal(first(dicom_bytes(truth)), colours())


@pytest.mark.parametrize(
    ("colorspace", "photometric", "expected"),
    [
        # Encoded with an Adobe marker (RGB) or as JFIF (YCbCr): the stream's own mark counts.
        ("RGB", "YBR_FULL_422", "RGB"),
        ("RGB", "RGB", "RGB"),
        ("YCBCR", "RGB", "RGB"),
        ("YCBCR", "YBR_FULL_422", "RGB"),
    ],
)
def test_a_jpeg_knows_its_colours_better_than_the_header(
    colorspace: str, photometric: str, expected: str
) -> None:
    truth = colours()
    stream = imagecodecs.jpeg8_encode(
        truth, level=98, colorspace=expected, outcolorspace=colorspace, subsampling="444"
    )
    found = one(truth, JPEG + "50", stream, PhotometricInterpretation=photometric)
    assert np.abs(found.astype(int) - truth).mean() < 3


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL"])
def test_a_jpeg_without_marks_has_the_colours_of_the_header(photometric: str) -> None:
    stream = imagecodecs.jpeg8_encode(
        colours(), level=98, colorspace="RGB", outcolorspace="YCBCR", subsampling="444"
    )
    at = stream.index(b"\xff\xe0")
    bare = stream[:at] + stream[at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big") :]
    found = one(colours(), JPEG + "50", bare, PhotometricInterpretation=photometric)
    converted = np.asarray(Image.fromarray(colours()).convert("YCbCr"))
    truth = converted if photometric == "RGB" else colours()
    assert np.abs(found.astype(int) - truth).mean() < 3


def test_bits_of_one_pixel_each_run_on_from_frame_to_frame() -> None:
    truth = (np.random.default_rng(1).random((3, 7, 9)) > 0.5).astype(np.uint8)
    packed = np.packbits(truth.ravel(), bitorder="little").tobytes()
    data = dicom_bytes(truth, ExplicitVRLittleEndian, packed + b"\0" * (len(packed) % 2),
                       BitsAllocated=1, BitsStored=1, HighBit=0)  # fmt: skip
    assert np.array_equal(np.stack(decoded(data)), truth)


def test_overlay_bits_above_the_stored_ones_are_no_values() -> None:
    truth = picture(bits=12)
    with_overlay = truth | (picture(bits=8).astype(np.uint16) & 1) << 12
    assert np.array_equal(first(dicom_bytes(with_overlay, BitsStored=12, HighBit=11)), truth)
    rle = run_lengths(with_overlay)
    assert np.array_equal(one(truth, RLE, bytes(rle), BitsStored=12, HighBit=11), truth)


@pytest.mark.parametrize("near", [3, 10])
def test_a_lossy_picture_that_overshoots_its_bits_does_not_wrap(near: int) -> None:
    truth = picture(bits=12)
    stream = bytes(imagecodecs.jpegls_encode(truth, level=near))
    found = one(truth, JPEG + "81", stream, BitsStored=12, HighBit=11)
    assert found.max() > 4095
    assert np.abs(found.astype(int) - truth).max() <= near


def test_a_high_bit_above_the_stored_ones_is_shifted_down() -> None:
    truth = picture(bits=12)
    data = dicom_bytes(truth << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(first(data), truth)


def test_bytes_of_big_endian_words_are_turned() -> None:
    import pydicom

    truth = colours(5, 3)
    raw = truth.tobytes() + b"\0"
    ds = pydicom.dcmread(io.BytesIO(dicom_bytes(truth)))
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    ds.PixelData = np.frombuffer(raw, "<u2").byteswap().tobytes()
    ds["PixelData"].VR = "OW"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(first(stream.getvalue()), truth)
