"""Images as numbers: the language, what an input's shape says, the arithmetic, and folders read when indexed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lieref.errors import DomainError, DTypeError, FormatError, LierefError, ShapeError, UnsupportedError
from lieref.model.lazy_samples import rows_of
from lieref.model.onnx_reader import graph_from_proto
from lieref.model.samples import arrange, check_samples
from lieref.train.data import load_data
from lieref.train.first_layers import of_first_layers, of_range
from lieref.train.image_array import ImageArray, array_of_pixels
from lieref.train.preprocess import PRESETS, Preprocess

NCHW = (None, 3, 8, 10)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize(
    "text",
    [
        *PRESETS,
        "imagenet,channels=bgr,resize=256",
        "scale=127.5,mean=1,background=0",
        "resize=9x12,crop=8x10,mean=1:2:3,std=0.1:0.2:0.30000000000000004,layout=nhwc",
        "resize=none,channels=grey",
    ],
)
def test_text_json_and_repr_lead_back(text: str) -> None:
    one = Preprocess.from_text(text)
    assert Preprocess.from_text(one.to_text()) == one
    assert Preprocess.from_dict(one.to_dict()) == one
    assert eval(repr(one)) == one
    assert str(one) == one.to_text()


def test_the_language_says_what_it_says() -> None:
    found = Preprocess.from_text(" ImageNet , crop=24, channels = BGR")
    assert found == Preprocess("8/7", (24, 24), 255.0, MEAN, STD, "bgr")
    assert found.to_text() == (
        "resize=8/7,crop=24x24,scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,channels=bgr"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "key=value"),
        ("imagnet", "must be imagenet, unit, raw, or key=value of resize, crop, "),
        ("raw,unit", "got 'unit'"),
        ("scale=255,scale=1", "each once"),
        ("scale=0", "`scale` must be a number from 1e-06"),
        ("scale=nan", "`scale`"),
        ("scale=x", "`scale` must be a number; got 'x'"),
        ("mean=1:2", "one for each of three channels"),
        ("mean=1e30", "`mean`"),
        ("std=1:0:1", "`std`"),
        ("resize=99999", "up to 16384"),
        ("resize=0x4", "`resize`"),
        ("crop=cover", "`crop` must be N or HxW"),
        ("layout=chw", "nchw or nhwc"),
        ("channels=hsv", "rgb or bgr or grey"),
        ("background=256", "0 to 255"),
    ],
)
def test_what_it_cannot_say_is_refused(text: str, words: str) -> None:
    with pytest.raises(DomainError, match=r"^preprocess: ") as raised:
        Preprocess.from_text(text)
    assert words in str(raised.value)


@pytest.mark.parametrize("values", [[], {"scale": "255"}, {"size": 3}, {"mean": [10**400]}, {"crop": [8.5, 8]}])
def test_a_damaged_record_is_a_format_error(values: object) -> None:
    with pytest.raises(FormatError, match="the preprocessing in here must be readable"):
        Preprocess.from_dict(values, "here")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "shape", "fitted"),
    [
        ("imagenet", (None, 3, 224, 224), "resize=256,crop=224x224,scale=255,{n},channels=rgb,layout=nchw"),
        ("imagenet", (1, 299, 299, 3), "resize=342,crop=299x299,scale=255,{n},channels=rgb,layout=nhwc"),
        ("raw", (None, 1, 28, 30), "resize=cover,crop=28x30,scale=1,mean=0,std=1,channels=grey,layout=nchw"),
        ("raw,crop=9", (None, 3, None, None), "resize=cover,crop=9x9,scale=1,mean=0,std=1,channels=rgb,layout=nchw"),
        ("raw,layout=nhwc", (None, 3, 8, 3), "resize=cover,crop=3x8,scale=1,mean=0,std=1,channels=rgb,layout=nhwc"),
    ],
)
def test_the_input_says_size_channels_and_layout(text: str, shape: tuple[int | None, ...], fitted: str) -> None:
    numbers = "mean=0.485:0.456:0.406,std=0.229:0.224:0.225"
    assert Preprocess.from_text(text).fitted(shape).to_text() == fitted.format(n=numbers)


@pytest.mark.parametrize(
    ("text", "shape", "error", "words"),
    [
        ("raw", (None, 43), ShapeError, "must take images; its input is (N, 43)"),
        ("raw", (None, 2, 6, 5), ShapeError, "images of 1 or 3 channels"),
        ("imagenet", (None, 1, 8, 8), DomainError, "must fit the model's input (N, 1, 8, 8); got channels=rgb"),
        ("unit,mean=1:2:3", (None, 1, 8, 8), DomainError, "`mean` must be one number"),
        ("raw,channels=grey", NCHW, DomainError, "got channels=grey"),
        ("raw,layout=nhwc", NCHW, DomainError, "got layout=nhwc"),
        ("raw,crop=8", NCHW, DomainError, "`crop` must be 8x10, the size of the model's input (N, 3, 8, 10); got 8x8"),
        ("raw,resize=9", NCHW, DomainError, "`resize` must be no less than the crop, 8x10; got 9"),
        ("raw", (None, 3, None, 8), DomainError, "`crop` must be given"),
        ("raw,crop=4", (None, None, None, None), DomainError, "`channels` must be given"),
    ],
)
def test_what_contradicts_the_input_is_refused(
    text: str, shape: tuple[int | None, ...], error: type[LierefError], words: str
) -> None:
    with pytest.raises(error) as raised:
        Preprocess.from_text(text).fitted(shape)
    assert words in str(raised.value)


def test_numbers_are_those_of_the_formula(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (2, 8, 10, 3), dtype=np.uint8)
    found = Preprocess.from_text("imagenet").fitted(NCHW).numbers(pixels)
    wanted = (pixels / 255.0 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(found, np.moveaxis(wanted, -1, 1), rtol=0, atol=1e-6)
    assert found.dtype == np.float32
    swapped = Preprocess.from_text("unit,mean=0.1:0.2:0.3,channels=bgr").fitted((None, 8, 10, 3)).numbers(pixels)
    np.testing.assert_allclose(swapped, pixels[..., ::-1] / 255.0 - [0.1, 0.2, 0.3], rtol=0, atol=1e-6)
    raw = Preprocess.from_text("raw").fitted(NCHW).numbers(pixels)
    assert raw.dtype == np.uint8
    np.testing.assert_array_equal(raw, np.moveaxis(pixels, -1, 1))


@pytest.mark.parametrize(
    ("text", "size", "resized"),
    [
        ("resize=16", (40, 30), (21, 16)),  # 16 * 40 / 30 = 21.3
        ("resize=16", (30, 40), (16, 21)),
        ("resize=9x12", (100, 7), (9, 12)),
        ("resize=none", (8, 10), (8, 10)),
        ("resize=cover", (40, 100), (8, 20)),
        ("resize=cover", (40, 20), (20, 10)),
        ("resize=cover", (8, 10), (8, 10)),
    ],
)
def test_sizes_before_the_crop(text: str, size: tuple[int, int], resized: tuple[int, int]) -> None:
    assert Preprocess.from_text(text).fitted(NCHW).size_of(*size) == resized


def stored(folder: Path, count: int = 6) -> list[Path]:
    """Images of many sizes and kinds, in two classes."""
    rng = np.random.default_rng(3)
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = {
        "rgb.png": lambda p: (Image.fromarray(p), {}),
        "grey.png": lambda p: (Image.fromarray(p[..., 0]), {}),
        "rgba.png": lambda p: (Image.fromarray(p).convert("RGBA"), {}),
        "cmyk.jpg": lambda p: (Image.fromarray(p).convert("CMYK"), {}),
        "turned.jpg": lambda p: (Image.fromarray(p), {"exif": turned}),
        "deep.png": lambda p: (Image.fromarray(p[..., 0].astype(np.uint16) * 257), {}),
    }
    files = []
    for number, (name, make) in enumerate(list(kinds.items())[:count]):
        height, width = 9 + 7 * number, 31 - 3 * number
        image, options = make(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        files.append(folder / "ab"[number % 2] / name)
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        image.save(files[-1], **options)
    return files


@pytest.mark.filterwarnings("ignore:read_image_folder")
@pytest.mark.parametrize("text", ["imagenet", "raw"])
def test_an_image_is_resized_by_pillow_and_cropped_in_the_middle(text: str, tmp_path: Path) -> None:
    files, how = stored(tmp_path), Preprocess.from_text(text).fitted(NCHW)
    found = ImageArray(files, how, source="here")[:]
    assert found.shape == (6, 3, 8, 10)
    turned = Image.open(files[4]).transpose(Image.Transpose.ROTATE_270)  # 6: the top stands at the right
    for row, file, image in ((0, files[0], Image.open(files[0])), (4, files[4], turned)):
        if text == "imagenet":  # 11 = 10 * 8 / 7 for the short side, the long one cut to whole pixels
            size = [11 * side // min(image.size) for side in image.size]
        else:
            size = [round(side * max(8 / image.height, 10 / image.width)) for side in image.size]
        resized = np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR))
        top, left = round((size[1] - 8) / 2), round((size[0] - 10) / 2)
        wanted = resized[top : top + 8, left : left + 10].astype(float)
        wanted = (wanted / 255 - MEAN) / STD if text == "imagenet" else wanted
        np.testing.assert_allclose(found[row], np.moveaxis(wanted, -1, 0), rtol=0, atol=1e-6, err_msg=str(file))


@pytest.mark.filterwarnings("ignore:read_image_folder")
@pytest.mark.parametrize("kept", [1, 3, 6])
def test_a_folder_is_the_same_whatever_is_kept_of_it(kept: int, tmp_path: Path) -> None:
    files, how = stored(tmp_path), Preprocess.from_text("unit").fitted(NCHW)
    whole = ImageArray(files, how, source="here")
    part = ImageArray(files, how, source="here", max_bytes=max(kept * 240, 39 * 31 * 16 * 2))
    part._kept, part._known = part._kept[:kept], part._known[:kept]
    order = np.array([5, 0, 3, 3])
    np.testing.assert_array_equal(part[order], np.asarray(whole)[order])
    np.testing.assert_array_equal(part[order], whole[:][order])
    assert part._known.tolist() == [number in (0, 3, 5) for number in range(kept)]
    assert (part.digest, part.shape, part.dtype, len(part)) == (whole.digest, (6, 3, 8, 10), np.float32, 6)
    assert whole.digest != ImageArray(files, Preprocess.from_text("raw").fitted(NCHW), source="here").digest
    assert whole.digest != ImageArray(files[::-1], how, source="here").digest


def test_samples_that_are_read_later_pass_as_samples(tmp_path: Path) -> None:
    images = ImageArray(stored(tmp_path, 2), Preprocess.from_text("unit").fitted(NCHW), source="here")
    assert check_samples("f", images) is images
    assert arrange(images.as_array_type(), NCHW, function="f") is images
    with pytest.raises(ShapeError, match="must fit the model's input"):
        arrange(images.as_array_type(), (None, 3, 9, 10), function="f")
    some = rows_of(images.as_array_type(), np.array([1, 1, 0]))
    assert some.shape == (3, 3, 8, 10)
    np.testing.assert_array_equal(np.asarray(some), images[:][[1, 1, 0]])
    np.testing.assert_array_equal(rows_of(some, slice(1, None))[:], images[:][[1, 0]])


def test_labelled_data_of_any_size(tmp_path: Path) -> None:
    stored(tmp_path, 5)
    data = load_data(tmp_path, preprocess=Preprocess.from_text("unit").fitted(NCHW))
    assert isinstance(data.x, ImageArray)
    assert ([file.name for file in data.x.files], data.y.tolist(), data.class_names) == (
        ["rgb.png", "rgba.png", "turned.jpg", "cmyk.jpg", "grey.png"], [0, 0, 0, 1, 1], ("a", "b"),
    )  # fmt: skip
    with pytest.raises(FormatError, match=r"must be for images in a folder or an .npz"):
        load_data("table.csv", preprocess=Preprocess())


def test_images_with_masks_keep_their_size(tmp_path: Path) -> None:
    for name, shape in (("images", (8, 10, 3)), ("masks", (8, 10))):
        (tmp_path / name).mkdir()
        Image.fromarray(np.ones(shape, np.uint8)).save(tmp_path / name / "one.png")
    how = Preprocess.from_text("unit").fitted(NCHW)
    data = load_data(tmp_path, task="dense", preprocess=how)
    np.testing.assert_allclose(np.asarray(data.x), np.full((1, 3, 8, 10), 1 / 255), rtol=1e-6)
    Image.fromarray(np.ones((9, 10, 3), np.uint8)).save(tmp_path / "images" / "one.png")
    with pytest.raises(FormatError, match=r"must be 8 x 10 pixels .* for resize=none; got 9 x 10"):
        np.asarray(load_data(tmp_path, task="dense", preprocess=how).x)


def test_bytes_in_an_array_are_pixels_and_other_numbers_are_not(tmp_path: Path) -> None:
    pixels = np.arange(2 * 8 * 10 * 3, dtype=np.uint8).reshape(2, 8, 10, 3)
    how = Preprocess.from_text("unit").fitted(NCHW)
    for given in (pixels, np.moveaxis(pixels, -1, 1)):
        np.testing.assert_array_equal(np.asarray(array_of_pixels("f", given, how, "here")), how.numbers(pixels))
    grey = Preprocess.from_text("unit").fitted((None, 1, 8, 10))
    assert array_of_pixels("f", pixels[..., 0], grey, "here").shape == (2, 1, 8, 10)
    with pytest.raises(DTypeError, match=r"must be bytes .uint8. to be preprocessed; got float32"):
        array_of_pixels("f", pixels.astype(np.float32), how, "here")
    with pytest.raises(ShapeError, match="arrays are not resized"):
        array_of_pixels("f", pixels[:, 1:], how, "here")


def test_rubbish_is_one_error_with_the_name_of_the_file(tmp_path: Path) -> None:
    how = Preprocess.from_text("raw").fitted(NCHW)
    whole = io.BytesIO()
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(whole, "png")
    clear = io.BytesIO()
    Image.new("RGBA", (9, 9), (200, 0, 0, 128)).save(clear, "png")
    thin = io.BytesIO()
    Image.new("L", (1, 60000)).save(thin, "png")
    for name, content, error, words in (
        ("text.jpg", b"hello", FormatError, "its first bytes are of none of BMP, GIF"),
        ("none.png", b"", FormatError, "must be a readable image"),
        ("cut.png", whole.getvalue()[:60], FormatError, "must be a readable image"),
        ("thin.png", thin.getvalue(), FormatError, "1 images of 6000000 pixels"),
        ("clear.png", clear.getvalue(), UnsupportedError, "add background=255 to --preprocess"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(error, match=words):
            ImageArray([tmp_path / name], how, source="here", max_bytes=2**26)[:]
    over = ImageArray([tmp_path / "clear.png"], Preprocess.from_text("background=0").fitted(NCHW), source="here")[:]
    assert {int(value) for value in over[0, 0].ravel()} == {100}  # 200 * 128 / 255
    images = ImageArray([tmp_path / "clear.png"], how, source="here")
    (tmp_path / "clear.png").write_bytes(whole.getvalue())
    with pytest.raises(FormatError, match="must stay as it is while it is read"):
        images[:]


def network(*steps: tuple[str, list[float], bool]) -> onnx.ModelProto:
    """Arithmetic with constants, (operator, constant, whether it stands first), then a convolution."""
    nodes, tensors, name = [], {}, "image"
    for number, (op, value, first) in enumerate(steps):
        tensors[f"c{number}"] = np.array(value, np.float32).reshape(-1, 1, 1)
        inputs = [f"c{number}", name] if first else [name, f"c{number}"]
        nodes.append(helper.make_node(op, inputs, [f"t{number}"], name=f"step{number}"))
        name = f"t{number}"
    nodes.append(helper.make_node("Conv", [name, "w"], ["y"], name="conv"))
    tensors["w"] = np.ones((2, 3, 1, 1), np.float32)
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", c, 8, 10]) for n, c in (("image", 3), ("y", 2))]
    graph = helper.make_graph(
        nodes, "net", info[:1], info[1:], [numpy_helper.from_array(v, n) for n, v in tensors.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([("Sub", [*MEAN], False), ("Div", [*STD], False)], "unit"),
        ([("Mul", [1 / 255], True), ("Sub", [*MEAN], False), ("Div", [*STD], False)], "raw"),
        ([("Div", [127.5], False), ("Add", [-1], False)], "raw"),
        ([("Sub", [103.939, 116.779, 123.68], False)], "raw,channels=bgr"),
        ([("Sub", [123.68, 116.779, 103.939], False)], "raw"),
        ([], None),
        ([("Mul", [40], False)], None),
        ([("Sub", [255], True)], None),
    ],
)
def test_first_operators_that_say_which_pixels_they_are_made_for(
    steps: list[tuple[str, list[float], bool]], found: str | None
) -> None:
    said = of_first_layers(graph_from_proto(network(*steps), "net"))
    if found is None:
        assert said is None
    else:
        assert said == (Preprocess.from_text(found), ", ".join(f"step{n}" for n in range(len(steps))))


def test_the_range_of_a_quantised_input() -> None:
    scale = 2.0 / 255
    for low, high, text in (
        (0.0, 1.0, "unit"), (0.0, 255.0, "raw"), (-128 * scale, 127 * scale, "scale=127.5,mean=1"),
        (-2.1, 2.64, "imagenet"), (-128.0, 127.0, "mean=128"), (-3.0, 9.0, None),
    ):  # fmt: skip
        assert of_range(low, high) == (None if text is None else Preprocess.from_text(text))
