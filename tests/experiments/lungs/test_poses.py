from experiments.lungs.poses import POSES, pose_lines, pose_sentence


def test_every_pose_but_upright_has_words():
    for pose in POSES[1:]:
        assert pose_sentence(pose).startswith("This picture ")
        (line,) = pose_lines({"a.png": POSES[0], "b.png": pose})
        assert line.startswith("1 of 2 pictures: ")
        assert line.endswith("(b.png)")
    assert pose_lines({"a.png": POSES[0]}) == []


def test_of_many_names_some_are_shown():
    (line,) = pose_lines({f"{i}.png": "negative" for i in range(9)})
    assert line.endswith("(0.png, 1.png, 2.png, 3.png, 4.png, ...)")
