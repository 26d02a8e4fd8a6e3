import pytest

from experiments.errors import UserError
from experiments.load import SHIPPED, load_experiment, load_lungs_experiment


@pytest.mark.parametrize(
    "override", ["data.batch_size=0", "data.num_workers=-1", "data.val_fraction=1.0", "seed=-1", "data.image_size=1"]
)
def test_a_wrong_lungs_setting_is_named(override: str):
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load_lungs_experiment(SHIPPED / "lungs_demo.yaml", [override])


def test_the_shares_of_a_lungs_experiment_leave_images_to_train_on():
    with pytest.raises(UserError, match=r"data\.val_fraction, data\.test_fraction: their sum must be below 1"):
        load_lungs_experiment(SHIPPED / "lungs_demo.yaml", ["data.val_fraction=0.5", "data.test_fraction=0.5"])


def test_a_task_that_is_not_active_may_have_any_settings():
    wrong = ["tasks.nodule.batch_size=0", "tasks.nodule.source=nowhere"]
    assert load_experiment(SHIPPED / "demo.yaml", ["active_tasks=[covidx]", *wrong]).tasks["nodule"].batch_size == 0
    with pytest.raises(UserError, match=r"tasks\.nodule\.batch_size: must be 1 or more, is 0"):
        load_experiment(SHIPPED / "demo.yaml", wrong)


def test_boxes_are_no_text_column():
    with pytest.raises(UserError, match=r"tasks\.rsna_boxes\.column: boxes are no column of texts"):
        load_experiment(SHIPPED / "demo.yaml", ["tasks.rsna_boxes.column=origin"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["privacy={delta: 1.0e-6}"], "either target_epsilon or noise_multiplier"),
        (["privacy.noise_multiplier=-1"], r"privacy\.noise_multiplier: must be above 0"),
        (["privacy.noise_multiplier=1", "model.norm=batch"], r"model\.norm: batch normalisation mixes"),
        (["privacy.noise_multiplier=1", "tasks.covid.balance=classes"], "draw some images more often"),
        (["privacy.noise_multiplier=1", "trainer.accumulate_grad_batches=2"], r"trainer\.accumulate_grad_batches"),
        (["privacy.noise_multiplier=1", "trainer.precision=16-mixed"], r"trainer\.precision"),
        (["privacy.noise_multiplier=1", "trainer.overfit_batches=2"], r"trainer\.overfit_batches"),
        (["privacy.noise_multiplier=1", "tasks.covid.loss_weight=2"], r"tasks\.covid\.loss_weight: leave it at 1"),
        (["privacy.noise_multiplier=1", "losses.attention=1"], "losses: extra losses"),
        (["privacy.noise_multiplier=1", "tasks.b={source: small, labels: [normal]}"], "one classification task"),
    ],
)
def test_what_privacy_does_not_go_with(overrides, words):
    path = SHIPPED / "small_data.yaml"
    assert load_experiment(path, ["model.norm=group", "privacy.target_epsilon=3"]).privacy is not None
    with pytest.raises(UserError, match=words):
        load_experiment(path, ["model.norm=group", *overrides])


def _own(labels: str, label: str, column: str) -> list[str]:
    """Overrides by which the demo's first task learns from a user's own table."""
    source = f"data.sources.covidx={{kind: csv, root: r, table: t.csv, {column}}}"
    return [source, f"tasks.covidx={{labels: {labels}}}", "tasks.covidx.upsample={}", f"robustness.label={label}"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        # published data sets: it is known which is misspelt
        (
            ["tasks.covidx.labels=[normal,pneumonia,COVID19]"],
            r"tasks\.covidx\.labels: source 'covidx' has no label 'COVID19'; did you mean 'COVID-19'\?$",
        ),
        (
            ["tasks.nodule.labels=[nodule]"],
            r"tasks\.nodule\.labels: source 'nih' has no label 'nodule'; .*'Nodule'\?$",
        ),
        (
            ["robustness.label=COVID19"],
            r"robustness\.label: task 'covidx' has no label 'COVID19'; .*labels has .*did you mean 'COVID-19'\?$",
        ),
        (
            ["tasks.covidx.labels=[normal,pneumonia]", "tasks.covidx.upsample={}"],
            r"robustness\.label: .* has no label 'COVID-19'; tasks\.covidx\.labels has \['normal', 'pneumonia'\]$",
        ),
        (["tasks.covidx.upsample={COVID19: normal}"], r"covidx\.upsample: .* 'COVID19'; .*did you mean 'COVID-19'\?$"),
        # a table that tells by its labels
        (
            _own("[sick, wel]", "well", "labels: {sick: a, well: b}"),
            r"tasks\.covidx\.labels: source 'covidx' has no label 'wel'; did you mean 'well'\?$",
        ),
        # data that must be read first: either may be wrong
        (
            _own("[sick, wel]", "well", "label_column: finding"),
            r"robustness\.label: .*tasks\.covidx\.labels has \['sick', 'wel'\]: 'well' here or 'wel' there is misspelt",
        ),
        (
            [*_own("[sick, wel]", "sick", "label_column: finding"), "tasks.covidx.upsample={well: sick}"],
            r"tasks\.covidx\.upsample: .*'well' here or 'wel' there is misspelt",
        ),
    ],
)
def test_a_misspelt_label_is_reported_where_it_stands(overrides, words):
    with pytest.raises(UserError, match=words):
        load_experiment(SHIPPED / "demo.yaml", overrides)


def test_the_labels_of_a_text_column_are_the_datas():
    columns = ["tasks.nodule={column: projection, kind: multiclass, labels: [PA, AP]}"]
    assert load_experiment(SHIPPED / "demo.yaml", columns).tasks["nodule"].labels == ["PA", "AP"]
