from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from datamodules.sources.patients import PatientRegistry, known_origins, origin_of
from experiments.errors import UserError

RSNA = "03cd7a5b-d5d7-40a1-81b1-c4264920530a"


@pytest.fixture
def registry(tmp_path: Path) -> PatientRegistry:
    path = tmp_path / "mapping.json"
    path.write_text(json.dumps([{"subset_img_id": RSNA, "img_id": "00001836_010.png", "orig_labels": ["Nodule"]}]))
    registry = PatientRegistry()
    registry.read_mapping(path)
    return registry


def test_one_person_in_three_data_sets(registry: PatientRegistry) -> None:
    assert registry.of_rsna(RSNA) == "nih:00001836"
    assert registry.of_covidx(RSNA, RSNA, "rsna") == "nih:00001836"
    assert registry.of_covidx("00001836", "00001836_003", "nih") == "nih:00001836"
    assert registry.of_stem("00001836_999") == registry.of_stem(RSNA) == "nih:00001836"


def test_unmapped_rsna_image_is_its_own_patient(registry: PatientRegistry) -> None:
    other = RSNA.replace("0", "1")
    assert registry.of_rsna(other) == registry.of_covidx(other, other, "rsna") == f"rsna:{other}"


@pytest.mark.parametrize(
    ("patient", "stem", "origin", "person"),
    [
        ("3", "SARS-10.1148rg.242035193-g04mr34g0-Fig8a-day0", "cohen", "cohen:3"),
        ("COVID-00025", "COVID-00025", "fig1", "fig1:COVID-00025"),
        ("COVID_1", "COVID(1)", "sirm", "sirm:COVID(1)"),
        ("COVID 1", "COVID (1)", "sirm", "sirm:COVID(1)"),  # another release's spelling
        ("419639-003251", "MIDRC-RICORD-1C-419639-003251-46647-0", "ricord", "ricord:419639-003251"),
        ("S03044", "sub-S03044_ses-E06790_run-1_bp-chest_vp-pa_dx-corrected", "bimcv", "bimcv:S03044"),
        (
            "A223587",
            "A223587-12-31-1900-NA-CHEST_AP_VIEWONLY-26790-1.0-AP-81991-1-1",
            "stonybrook",
            "stonybrook:A223587",
        ),
        ("ANON193", "CR.1.2.840.113564.1722810170", "actmed", "actmed:ANON193"),
    ],
)
def test_covidx_sub_sources(patient: str, stem: str, origin: str, person: str) -> None:
    registry = PatientRegistry()
    assert origin_of(patient, stem) == origin
    assert registry.of_covidx(patient, stem, origin) == person
    assert registry.of_stem(stem) == (None if origin in ("cohen", "actmed") else person)


def test_origins_that_the_file_name_tells() -> None:
    assert origin_of("3", RSNA) == "rsna"
    assert origin_of("3", "00001836_003") == origin_of("3", "00001836 _003") == "nih"
    assert origin_of("ANON193", "COVID-00025") == "actmed"  # the patient's name tells more than the file's


def test_a_line_of_nih_whose_file_is_none_of_nihs_keeps_its_first_field() -> None:
    """And a file of NIH's name in a line of another origin is no NIH image."""
    registry = PatientRegistry()
    assert registry.of_covidx("7", "film", "nih") == "nih:7"
    assert registry.of_covidx("7", "00001836_003", "cohen") == "cohen:7"
    assert registry.of_covidx("7", "0000 1836_003", "nih") == "nih:00001836"
    assert registry.of_covidx("COVID 70", "COVID (70)", "fig1") == "fig1:COVID 70"


def test_an_nih_image_has_eight_digits_and_three() -> None:
    of_stem = PatientRegistry().of_stem
    assert of_stem("00001836_010") == of_stem("00001836_010.png") == "nih:00001836"
    assert of_stem("0001836_010") is of_stem("00001836_01") is of_stem("x00001836_010") is None


def test_a_mapping_may_hold_numbers(tmp_path: Path) -> None:
    (tmp_path / "mapping.json").write_text('[{"subset_img_id": 1, "img_id": 2}, {"subset_img_id": "a", "img_id": "b"}]')
    registry = PatientRegistry(nih_images={"c": "d"})
    registry.read_mapping(tmp_path / "mapping.json")
    assert registry.nih_images == {"1": "2", "a": "b", "c": "d"}


def test_where_images_were_collected() -> None:
    def origins(origin: list[str], patient: list[str]) -> list[str]:
        return known_origins(pd.DataFrame({"origin": origin, "patient": patient})).tolist()

    assert origins(["cohen", "own"], ["nih:1", "own:2"]) == ["cohen", "own"]
    assert origins(["own", "own"], ["nih:1", "nih:2:3"]) == ["nih", "nih"]
    assert origins(["own"] * 3, ["nih:1:own", "own:2", "fig1:3"]) == ["nih", "own (no more is known)", "fig1"]
    assert origins(["own", "own"], ["own:1", "own:2"]) == ["own", "own"]
    assert known_origins(pd.DataFrame({"origin": [1, 1], "patient": [2, 3]})).tolist() == ["2", "3"]


def test_known_stems_win_over_patterns(registry: PatientRegistry) -> None:
    registry.known["scan1"] = "cohen:7"
    assert registry.of_stem("scan 1") == "cohen:7"
    assert registry.of_stem("scan 2") is None


def test_wrong_mapping_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mapping.json"
    for text in ("{", '{"a": 1}', '[{"img_id": "x"}]'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"mapping\.json: not RSNA's mapping"):
            PatientRegistry().read_mapping(path)


@pytest.mark.parametrize(
    ("stem", "patient"),
    [
        ("person1_bacteria_2", "kermany:person1"),
        ("person1_virus_6", "kermany:person1"),
        ("Person1000_Virus_1681", "kermany:person1000"),
        ("NORMAL2-IM-0305-0001", "kermany:normal2-im-0305"),
        ("NORMAL2-IM-1103-0001-0002", "kermany:normal2-im-1103"),
        ("IM-0073-0001", "kermany:im-0073"),
        ("IM-0187-0001-0001", "kermany:im-0187"),
        ("IM-0187-0001.v2", "kermany:im-0187"),
        ("person1_bacteria_2.1", "kermany:person1"),
        ("person1_bacteria_2 (1)", "kermany:person1"),
        ("person1_bacteria_2 - Copy (2)", "kermany:person1"),
        ("IM-0187-0001_copy", "kermany:im-0187"),
        ("00001836_002 (1)", "nih:00001836"),
        ("COVID (70)", "sirm:COVID(70)"),
        ("COVID (70) (1)", "sirm:COVID(70)"),
        ("film (1)", None),
        ("BACTERIA-7422-0001", "kermany:7422"),
        ("NORMAL-7422-0002", "kermany:7422"),
        ("personal_film", None),
        ("IM-0073", None),
        ("film-0073-0001", None),
    ],
)
def test_patients_of_file_names(stem: str, patient: str | None) -> None:
    assert PatientRegistry().of_stem(stem) == patient


def test_known_names_in_another_spelling() -> None:
    registry = PatientRegistry()
    registry.learn(["Ro\u0308ntgen 1.png"], ["cohen:3"])
    assert registry.of_stem("R\u00d6NTGEN1") == "cohen:3"


def test_ieee8023s_table_beside_its_images_and_above_them(tmp_path: Path) -> None:
    """With a byte order mark, quotes and blanks in its header, and a line without a patient."""
    (tmp_path / "images").mkdir()
    header = '\ufeff"patientid", finding,"filename"\n'
    (tmp_path / "images" / "metadata.csv").write_text(header + "7,x,near.png\n,x,nobody.png\n", encoding="utf-8")
    (tmp_path / "metadata.csv").write_text("filename,patientid\nfar.png,8\n")
    registry = PatientRegistry()
    registry.read_ieee8023(tmp_path / "images")
    assert registry.known == {"near": "cohen:7", "far": "cohen:8"}


def test_a_table_of_another_encoding_beside_the_images_is_another_ones(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes("patientid,größe\n1,2\n".encode("latin-1"))
    registry = PatientRegistry()
    registry.read_ieee8023(tmp_path)
    assert registry.known == {}


def test_ieee8023s_table(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    registry = PatientRegistry()
    registry.read_ieee8023(tmp_path / "images")
    assert registry.known == {}
    (tmp_path / "metadata.csv").write_text("a,b\n1,2\n")  # another one's
    registry.read_ieee8023(tmp_path / "images")
    assert registry.known == {}
    (tmp_path / "metadata.csv").write_text("patientid,finding,filename\n12,x,kjr-21-e24-g002-l-a.jpg\n")
    registry.read_ieee8023(tmp_path / "images")
    assert registry.of_stem("kjr-21-e24-g002-l-a") == "cohen:12"
