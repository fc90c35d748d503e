"""The export of a model: the same boxes as PyTorch, measured, the same bytes each time, and run without PyTorch."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import venv
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages import export as stage
from stages.base.failures import BadParams, Failure
from stages.data.images import read_image
from stages.detector import evaluation, formats
from stages.detector import export as work
from stages.detector.export import Exported, export, pixels_apart
from stages.detector.formats import FILES, check_formats
from stages.detector.ultralytics import YOLO
from stages.params import file as params_file
from tests.helpers.exported import PAGE, by_pytorch, largest_distance, of_files, printed, snippet
from tests.helpers.networks import save_untrained
from tests.helpers.photographs import WEIGHTS, real
from tests.helpers.predictions import by_hand
from tests.helpers.prepared import prepared_data  # noqa: F401 - a fixture
from tests.helpers.project import COCO128, SOURCE

IMGSZ = 64
THRESHOLD = 0.3
BOX = (0.0, 0.0, 100.0, 100.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "best.pt"
    save_untrained(path, IMGSZ, classes=1)
    return path


@pytest.fixture(scope="module")
def exported(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return export(model, data, ["onnx"], IMGSZ, THRESHOLD, tmp_path_factory.mktemp("exported"))


def facts(path: Path) -> dict[str, str]:
    import onnxruntime  # after the project has switched off its usage data

    return dict(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map)


def test_onnx_has_the_map50_and_the_boxes_of_pytorch(exported: Exported) -> None:
    metrics = exported.metrics
    assert abs(metrics["onnx_mAP50_difference"]) < 0.001
    assert metrics["onnx_mAP50_difference"] == pytest.approx(metrics["onnx_mAP50"] - metrics["pytorch_mAP50"], abs=1e-5)
    assert metrics["onnx_pixels_apart"] < 0.1
    for name in ("pytorch", "onnx"):
        assert metrics[f"{name}_ms_per_image"] > 0
    assert metrics["onnx_megabytes"] == pytest.approx(exported.files["onnx"].stat().st_size / 1e6, abs=0.01)
    sheet = cv2.imdecode(np.frombuffer(exported.sheet, np.uint8), cv2.IMREAD_COLOR)
    assert sheet is not None
    assert sheet.shape[1] > 4 * 200, "two images in a row, each twice"


def test_the_file_has_all_that_it_takes_and_no_date(exported: Exported, model: Path) -> None:
    about = facts(exported.files["onnx"])
    assert about["weights"] == hashlib.md5(model.read_bytes()).hexdigest()
    assert (about["longest_side"], about["threshold"], about["iou"]) == (str(IMGSZ), str(THRESHOLD), "0.7")
    assert about["names"] == "{0: '0'}"
    assert "date" not in about
    assert not [value for value in about.values() if str(model.parent) in value], "a path of this machine"


def test_the_same_model_gives_the_same_bytes_and_leaves_nothing_else(
    exported: Exported, model: Path, data: Path, tmp_path: Path
) -> None:
    again = export(model, data, ["onnx"], IMGSZ, THRESHOLD, tmp_path)
    assert again.files["onnx"].read_bytes() == exported.files["onnx"].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["best.onnx"]
    assert [path.name for path in model.parent.iterdir()] == ["best.pt"]


def test_the_code_of_the_page_finds_the_boxes_of_pytorch(exported: Exported, model: Path, data: Path) -> None:
    code = snippet()
    boxes = 0
    for image in sorted((data / "images" / "test").iterdir()):
        expected = by_pytorch(model, image, IMGSZ, THRESHOLD)
        assert largest_distance(printed(of_files(code, exported.files["onnx"], image)), expected) < 1
        boxes += len(expected)
    assert boxes > 4


def test_without_a_box_the_code_of_the_page_prints_an_empty_table(exported: Exported, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((40, 64, 3), 114, np.uint8))
    code = of_files(snippet(), exported.files["onnx"], tmp_path / "grey.png")
    assert printed(re.sub(r"\bconf, 0\.7", "1.1, 0.7", code)).shape == (0, 4)


def test_the_code_has_ten_lines_after_its_imports_and_is_the_same_in_the_readme() -> None:
    lines = [line for line in snippet().splitlines() if line and not line.startswith("import")]
    assert len(lines) == 10
    assert max(map(len, lines)) <= 120
    assert snippet(SOURCE / "README.md").replace("models/best.onnx", "best.onnx") == snippet()


@real
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the real weights are not beside this checkout")
def test_on_photographs_of_any_shape_the_boxes_are_those_of_pytorch(data: Path, tmp_path: Path) -> None:
    """Weights of two classes that know people, with images of 320 pixels that are not square."""
    about = {"weights": "", "longest_side": 320, "threshold": 0.25, "iou": 0.7}
    onnx = work._write(WEIGHTS, "onnx", 320, about, tmp_path)
    shapes, boxes = set(), 0
    for image in sorted((COCO128 / "images" / "train2017").iterdir())[:24]:
        expected = by_pytorch(WEIGHTS, image, 320, 0.25)
        assert largest_distance(printed(of_files(snippet(), onnx, image)), expected) < 1, image.name
        shapes.add(read_image(image).shape)
        boxes += len(expected)
    assert len(shapes) > 5
    assert boxes > 20


WITHOUT_TORCH = """
import json, sys
rows = []
exec(open(sys.argv[1], encoding="utf-8").read(), {"print": rows.append})
assert not {"torch", "ultralytics", "stages"} & set(sys.modules)
print(json.dumps(rows[0].tolist()))
"""


@pytest.mark.slow
@pytest.mark.long
def test_in_an_environment_with_onnxruntime_numpy_and_opencv_only_the_boxes_are_those_of_pytorch(
    exported: Exported, model: Path, data: Path, tmp_path: Path
) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pins = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "opencv-python")]
    installed = subprocess.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--retries=0",
            "--timeout=15",
            *pins,
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if installed.returncode:
        pytest.skip(f"the packages cannot be installed here: {(installed.stderr.splitlines() or ['?'])[-1]}")
    image = sorted((data / "images" / "test").iterdir())[0]
    code = tmp_path / "code.py"
    code.write_text(of_files(snippet(), exported.files["onnx"], image), encoding="utf-8")
    done = subprocess.run(
        [python, "-I", "-c", WITHOUT_TORCH, str(code)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = by_pytorch(model, image, IMGSZ, THRESHOLD)
    assert len(expected) > 0
    assert largest_distance(np.array(json.loads(done.stdout)).reshape(-1, 4), expected) < 1


def test_a_format_that_differs_is_an_error_that_says_what_to_do(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_evaluate = evaluation.evaluate

    def evaluate(path: Path, *arguments: object, **options: object) -> object:
        result = real_evaluate(path, *arguments, **options)  # type: ignore[arg-type]
        return result if path.suffix == ".pt" else replace(result, metrics={**result.metrics, "mAP50": 0.9})

    monkeypatch.setattr(work, "evaluate", evaluate)
    with pytest.raises(Failure, match=r"best\.pt as onnx has mAP50 0\.900 on the test split.*more than 0\.005 apart"):
        export(model, data, ["onnx"], IMGSZ, THRESHOLD, tmp_path)


def test_a_failed_export_is_one_line_that_names_the_format(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("unsupported operator")

    monkeypatch.setattr(YOLO, "export", broken)
    with pytest.raises(Failure, match=r"the export to onnx failed \(RuntimeError: unsupported operator\); remove onnx"):
        export(model, data, ["onnx"], IMGSZ, THRESHOLD, tmp_path)


def test_a_missing_package_is_one_line_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda module: None)
    with pytest.raises(
        BadParams, match=r"^params\.yaml: export\.formats: openvino needs the package openvino, which is"
    ):
        check_formats(["openvino"])
    with pytest.raises(BadParams, match=r"onnx and onnxruntime, which.* run `pip install -r requirements\.txt`"):
        check_formats(["torchscript", "onnx"])
    check_formats(["torchscript"])
    check_formats([])


@pytest.mark.parametrize("wanted", sorted(set(FILES) - {"onnx"}))
def test_another_format_is_compared_too_where_its_package_is_installed(
    model: Path, data: Path, tmp_path: Path, wanted: str
) -> None:
    if not all(map(find_spec, formats.MODULES[wanted])):
        pytest.skip(f"{wanted} is not installed")
    made = export(model, data, [wanted], IMGSZ, THRESHOLD, tmp_path)
    assert (tmp_path / FILES[wanted]).exists()
    assert abs(made.metrics[f"{wanted}_mAP50_difference"]) <= 0.005


def test_boxes_are_compared_with_the_nearest_box_of_their_class() -> None:
    expected = by_hand([(0, *BOX)], [(0.9, 0, *BOX), (0.1, 0, 300.0, 0.0, 400.0, 100.0)])
    other = by_hand([(0, *BOX)], [(0.29, 0, 0.0, 2.0, 100.0, 100.0), (0.9, 1, *BOX)])
    assert pixels_apart(expected, expected, 0.3) == 0
    assert pixels_apart(expected, other, 0.3) == 2
    assert pixels_apart(expected, by_hand([], []), 0.3) == 640
    assert pixels_apart(by_hand([], []), expected, 0.3) == 0


def test_the_stage_keeps_the_files_and_without_a_format_writes_every_out_that_dvc_expects(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").mkdir()
    shutil.copyfile(model, tmp_path / "models" / "best.pt")
    tested = tmp_path / "reports" / "evaluate" / "metrics.json"
    tested.parent.mkdir(parents=True)
    tested.write_text(json.dumps({"threshold": THRESHOLD}), encoding="utf-8")
    places = {
        "MODEL": tmp_path / "models" / "best.pt",
        "ONNX": tmp_path / "models" / "best.onnx",
        "OTHERS": tmp_path / "models" / "exported",
        "METRICS": tmp_path / "reports" / "export" / "metrics.json",
        "ROOT": tmp_path,
        "DATA": data,
    }
    for name, value in places.items():
        monkeypatch.setattr(stage, name, value)
    params = params_file.load(SOURCE / "params.yaml").model_copy(update={"imgsz": IMGSZ})

    def run(*wanted: str) -> None:
        changed = params.model_copy(update={"export": params.export.model_copy(update={"formats": wanted})})
        monkeypatch.setattr(params_file, "load", lambda: changed)
        stage.main()

    run("onnx", "torchscript")
    assert facts(places["ONNX"])["threshold"] == str(THRESHOLD)
    assert {path.name for path in places["OTHERS"].iterdir()} == {"README.md", "best.torchscript"}
    assert (places["OTHERS"] / "README.md").read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")
    assert "onnx_mAP50" in json.loads(places["METRICS"].read_text(encoding="utf-8"))
    assert capsys.readouterr().out.startswith("onnx: mAP50 0.")
    assert {path.name for path in places["MODEL"].parent.iterdir()} == {"best.pt", "best.onnx", "exported"}

    run()
    assert places["ONNX"].read_text(encoding="utf-8").startswith("This is no model")
    assert {path.name for path in places["OTHERS"].iterdir()} == {"README.md"}
    assert json.loads(places["METRICS"].read_text(encoding="utf-8")) == {}
    assert cv2.imread(str(places["METRICS"].with_name("boxes.png"))) is not None
    assert capsys.readouterr().out == "export.formats is empty: nothing is exported\n"
