"""Intensive-care records from small archives that are written here in the challenge's form."""

from __future__ import annotations

import math
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from datamodules import DataMissing, PhysioNet2012
from datamodules import _intensive_care as care
from datamodules import physionet2012 as module
from zoo._preprocessing import preprocess

HEADER = "Time,Parameter,Value\n"
CHANNEL = {name: number for number, name in enumerate(care.CHANNELS)}


def record(number: int, lines: str, kind: int = 3, age: int = 50) -> str:
    known = f"00:00,RecordID,{number}\n00:00,Age,{age}\n00:00,Gender,1\n00:00,Height,-1\n00:00,ICUType,{kind}\n"
    return HEADER + known + lines


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets of 20 records; in each set the fifth record died, and so on by fives."""
    folder = tmp_path / "data" / "PhysioNet2012"
    folder.mkdir(parents=True)
    for part, first in (("a", 100), ("b", 200)):
        numbers = range(first, first + 20)
        with zipfile.ZipFile(folder / f"set-{part}.zip", "w") as file:
            for n in numbers:
                measured = "".join(f"{h:02d}:30,HR,{60 + n % 7 + h}\n" for h in range(n % 5 + 1))
                file.writestr(f"set-{part}/{n}.txt", record(n, measured, kind=n % 4 + 1, age=20 + n % 60))
        died = "".join(f"{n},1,1,1,-1,{int(n % 5 == 0)}\n" for n in numbers)
        outcomes = "RecordID,SAPS-I,SOFA,Length_of_stay,Survival,In-hospital_death\n" + died
        (folder / f"Outcomes-{part}.txt").write_text(outcomes)
    monkeypatch.setenv("ZOO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def rewritten(folder: Path, lines: str) -> tuple[Tensor, Tensor]:
    """Values and times of the first record when it has these lines."""
    with zipfile.ZipFile(folder / "set-a.zip") as file:
        texts = {name: file.read(name).decode() for name in file.namelist()}
    texts["set-a/100.txt"] = record(100, lines)
    with zipfile.ZipFile(folder / "set-a.zip", "w") as file:
        for name, text in texts.items():
            file.writestr(name, text)
    observed = care.parsed(folder)
    length = 1 + int(observed["row"].max())
    values, mask = care.dense(observed, length, care.UNCHANGED)
    return torch.where(mask, values, torch.nan)[0], care.clock(observed, length)[0]


def test_a_record_is_what_its_file_says(archive: Path) -> None:
    lines = "00:07,HR,73\n00:07,Temp,35.1\n01:37,HR,60\n01:37,HR,61\n02:00,Weight,-1\n47:59,pH,7.4\n48:00,Unknown,3\n"
    values, times = rewritten(archive, lines)
    assert times[:4].tolist() == pytest.approx([0, 7 / 60, 97 / 60, 47 + 59 / 60])
    observed = {
        (k, name): float(values[k, c]) for k in range(4) for name, c in CHANNEL.items() if values[k, c] == values[k, c]
    }
    known = {(0, "Age"): 50, (0, "Gender"): 1} | {(0, kind): float(kind == "medical") for kind in care.CARE}
    measured = {(1, "HR"): 73, (1, "Temp"): 35.1, (2, "HR"): 61, (3, "pH"): 7.4}  # the last of two, and no negative one
    assert observed == pytest.approx(known | measured)
    assert bool(values[4:].isnan().all())
    assert times[4:].tolist() == pytest.approx([48 + 59 / 60 + k for k in range(len(times) - 4)])


def test_a_record_without_measurements_has_what_was_known_on_admission(archive: Path) -> None:
    values, times = rewritten(archive, "")
    assert int((~values.isnan()).any(1).sum()) == 1
    assert bool((times.diff() > 0).all())


def test_splits_are_disjoint_stratified_and_of_all_records(archive: Path) -> None:
    data = PhysioNet2012(val_share=0.25, test_share=0.25)
    parts = data._indices()
    assert sorted(torch.cat(list(parts.values())).tolist()) == list(range(40))
    labels = module.records()["labels"]
    assert {split: (len(part), int(labels[part].sum())) for split, part in parts.items()} == {
        "train": (20, 4),
        "val": (10, 2),
        "test": (10, 2),
    }
    other = PhysioNet2012(val_share=0.25, test_share=0.25, seed=1)._indices()
    assert not torch.equal(parts["test"], other["test"])


def test_what_training_records_observed_is_standardised(archive: Path) -> None:
    values, mask, _, labels = PhysioNet2012(val_share=0.25, test_share=0.25).load("train")
    assert labels.shape == (20,)
    for name in ("HR", "Age", *care.CARE):
        x = values[..., CHANNEL[name]][mask[..., CHANNEL[name]]]
        assert float(x.mean()) == pytest.approx(0, abs=1e-5)
        assert float(x.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert not values[..., CHANNEL["Gender"]].any()  # always 1: less that, and not divided by 0
    assert not mask[..., CHANNEL["Albumin"]].any()


def test_rounded_times_have_the_last_value_of_each_hour(archive: Path) -> None:
    lines = "00:07,HR,73\n00:59,HR,60\n00:59,Temp,35\n01:00,HR,61\n01:59,Temp,36\n47:59,pH,7.4\n48:00,HR,50\n"
    rewritten(archive, lines)
    observed = care.rounded(care.parsed(archive), 60)
    own = care.among(observed, torch.tensor([0]))
    found = {
        (int(row), care.CHANNELS[channel]): float(value)
        for row, channel, value in zip(own["row"], own["channel"], own["value"], strict=True)
        if care.CHANNELS[channel] in care.SERIES
    }
    expected = {(0, "HR"): 60, (0, "Temp"): 35, (1, "HR"): 61, (1, "Temp"): 36, (47, "pH"): 7.4, (48, "HR"): 50}
    assert found == pytest.approx(expected)
    data = PhysioNet2012(every=1.0, val_share=0.25, test_share=0.25)
    values, mask, times, _ = data.load("train")
    assert values.shape[1:] == data.spec.batch[0].shape == (49, len(care.CHANNELS))
    assert torch.equal(times, torch.arange(49.0).expand(20, -1))
    assert not values[~mask].any()


def test_intensity_counts_what_was_observed_so_far(archive: Path) -> None:
    shares = {"val_share": 0.25, "test_share": 0.25}
    _, seen, *_ = PhysioNet2012(**shares).load("test")
    values, mask, *_ = PhysioNet2012(**shares, intensity=True).load("test")
    _, training, *_ = PhysioNet2012(**shares).load("train")
    usual = 1 + training.double().sum(1).mean(0)
    for n in range(len(seen)):
        for k in range(seen.shape[1]):
            so_far = seen[n, : k + 1].double().sum(0) / usual
            some = bool(seen[n, k].any())
            torch.testing.assert_close(values[n, k, 44:].double(), some * so_far, rtol=1e-6, atol=1e-6)
            assert mask[n, k, 44:].tolist() == [some] * 44
    assert torch.equal(mask[..., :44], seen)


@pytest.mark.parametrize("intensity", [False, True])
def test_preprocessing_makes_what_is_loaded_of_what_was_measured(archive: Path, intensity: bool) -> None:
    data = PhysioNet2012(val_share=0.25, test_share=0.25, intensity=intensity, every=1.0)
    raw, mask, *_ = data.raw("test")
    values, *_ = data.load("test")
    found = torch.where(mask, preprocess(raw, data.preprocessing), 0.0)
    torch.testing.assert_close(found, values, rtol=1e-6, atol=1e-6)
    age = raw[:, 0, CHANNEL["Age"]]
    assert bool(((age >= 20) & (age < 80) & (age == age.round())).all())  # in years


def test_values_beyond_two_quantiles_are_moved_to_them() -> None:
    x = torch.cat([torch.linspace(7.0, 7.8, 1999), torch.tensor([735.0])])
    low, high, mean, deviation = care.moments(x)
    assert 7.0 < float(low) < float(high) < 7.8
    assert float(mean) == pytest.approx(7.4, abs=1e-3)
    assert float(deviation) == pytest.approx(0.8 / 12**0.5, rel=5e-3)
    assert care.moments(torch.empty(0)).tolist() == [-torch.inf, torch.inf, 0, 1]


def test_files_are_parsed_once_and_a_damaged_copy_is_made_anew(archive: Path, tmp_path: Path) -> None:
    first = {name: tensor.clone() for name, tensor in module.records().items()}
    kept = next((tmp_path / "cache").rglob("*.safetensors"))
    (archive / "set-a.zip").rename(archive / "away.zip")
    module._records.cache_clear()
    assert all(torch.equal(tensor, first[name]) for name, tensor in module.records().items())
    (archive / "away.zip").rename(archive / "set-a.zip")
    kept.write_bytes(kept.read_bytes()[:-100])
    module._records.cache_clear()
    assert all(torch.equal(tensor, first[name]) for name, tensor in module.records().items())


def test_records_are_those_of_the_folder_that_is_set_now(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = module.records()["labels"].clone()
    other = tmp_path / "other"
    shutil.copytree(archive, other / "PhysioNet2012")
    outcomes = other / "PhysioNet2012" / "Outcomes-a.txt"
    outcomes.write_text(outcomes.read_text().replace("100,1,1,1,-1,1", "100,1,1,1,-1,0"))
    monkeypatch.setenv("ZOO_DATA_DIR", str(other))
    monkeypatch.setenv("ZOO_CACHE_DIR", str(tmp_path / "other_cache"))
    assert int(first.sum() - module.records()["labels"].sum()) == 1


def test_missing_files_are_named_with_the_remedy(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (archive / "set-b.zip").unlink()
    monkeypatch.setattr(module, "SOURCE", "http://127.0.0.1:9")
    with pytest.raises(DataMissing, match=r"PhysioNet2012: no .*set-b\.zip.* put set-a\.zip, set-b\.zip"):
        PhysioNet2012().prepare_data()


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"val_share": 0.0}, r"val_share must lie in \(0, 1\), got 0.0"),
        ({"test_share": 1.0}, r"test_share must lie in \(0, 1\), got 1.0"),
        (
            {"test_share": 1e-5},
            "test_share must hold back some of each class, got 1e-05: 1 of the 1122 deaths is a share",
        ),
        ({"val_share": 0.5, "test_share": 0.5}, r"must leave some to train on, got 0.5 \+ 0.5"),
    ],
)
def test_bad_shares(shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhysioNet2012(**shares)


@pytest.mark.parametrize("minutes", [1, 31, 246, 2880])
def test_whole_minutes_are_taken_whatever_their_rounding_in_hours(minutes: int) -> None:
    assert PhysioNet2012(every=minutes / 60).minutes == minutes


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"val_share": 0.02, "test_share": 0.25}, r"val_share 0.02 .* leave labels \[0\] in the val split"),
        ({"val_share": 0.001, "test_share": 0.99}, "test_share 0.99 leaves no series of class 0 to train on"),
    ],
)
def test_shares_that_leave_a_split_without_a_class(archive: Path, shares: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhysioNet2012(**shares).load("train")


def test_a_record_without_a_kind_of_care_leaves_the_others_theirs(archive: Path) -> None:
    with zipfile.ZipFile(archive / "set-a.zip") as file:
        texts = {name: file.read(name).decode() for name in file.namelist()}
    texts["set-a/105.txt"] = HEADER + "00:00,RecordID,105\n00:30,HR,70"  # and without an end to its last line
    with zipfile.ZipFile(archive / "set-a.zip", "w") as file:
        for name, text in texts.items():
            file.writestr(name, text)
    observed = care.parsed(archive)
    values, mask = care.dense(observed, 1 + int(observed["row"].max()), care.UNCHANGED)
    kinds = slice(len(care.CHANNELS) - len(care.CARE), None)
    assert mask[:, 0, kinds].all(1).tolist() == [n != 5 for n in range(40)]
    expected = [n % 4 for n in [*range(100, 120), *range(200, 220)]]
    assert [int(v.argmax()) for n, v in enumerate(values[:, 0, kinds]) if n != 5] == expected[:5] + expected[6:]
    assert float(values[5, 0, CHANNEL["HR"]]) == 70


@pytest.mark.parametrize("every", [-1.0, 49.0, 0.001, math.nan, math.inf])
def test_bad_roundings(every: float) -> None:
    with pytest.raises(
        ValueError, match=f"every must be a number of whole minutes in hours, from 0 to 48, got {every}"
    ):
        PhysioNet2012(every=every)
