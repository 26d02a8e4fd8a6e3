from __future__ import annotations

import json
from pathlib import Path

import pytest

from datamodules.sources.patients import PatientRegistry, origin_of
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
    assert registry.of_stem(stem) in (person, None)  # the file name alone never tells another person


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
