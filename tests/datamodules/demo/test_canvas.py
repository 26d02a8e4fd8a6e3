import numpy as np

from datamodules.demo.canvas import blur, cloud, fill, stroke, thickness

SQUARE = np.array([(-0.25, 0.25), (0.25, 0.25), (0.25, 0.75), (-0.25, 0.75)])  # the middle of the frame


def test_a_polygon_is_filled_where_it_lies() -> None:
    canvas = fill(64, SQUARE)
    assert canvas[32, 32] == 1
    assert canvas[5, 5] == canvas[60, 32] == 0
    assert 0.15 < canvas.mean() < 0.25  # the corners are cut


def test_a_hollow_line_has_a_bright_rim() -> None:
    canvas = np.zeros((100, 100), np.uint8)
    stroke(canvas, np.array([(-0.4, 0.5), (0.4, 0.5)]), 0.1)
    assert canvas[50, 50] == 158
    assert canvas[:, 50].max() > 200
    assert canvas[:, 50].argmax() in (44, 45, 54, 55)
    assert canvas[30, 50] == 0


def test_a_body_is_thick_inside_and_soft_at_its_edge() -> None:
    body = thickness(fill(64, SQUARE), 0.1)
    assert body[32, 32] == 1
    assert 0 < body[32, 17] < 1
    assert body[32, 5] == 0


def test_blur_and_noise() -> None:
    dot = np.zeros((41, 41), np.uint8)
    dot[20, 20] = 255
    soft = blur(dot, 0.05)
    assert soft.dtype == np.float32
    assert abs(soft.sum() - 1) < 1e-4
    noise = cloud(np.random.default_rng(0), 512, 4)
    assert noise.shape == (512, 512)
    assert 0.5 < noise.std() < 1.3
