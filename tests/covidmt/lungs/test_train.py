from covidmt.lungs.train import lungs_table
from experiments.load import SHIPPED, load_lungs_experiment
from lightning_modules.lungs.unet import LungUNet


def test_the_run_has_table_2_and_a_checkpoint_that_segments(trained, demo_data, capsys, monkeypatch):
    import mlflow

    monkeypatch.chdir(trained.parents[3])
    client = mlflow.MlflowClient(f"sqlite:///{trained.parents[2]}/mlflow.db")
    (run,) = client.search_runs(
        [e.experiment_id for e in client.search_experiments(filter_string="name = 'covidmt-lungs'")]
    )
    assert run.info.status == "FINISHED"
    for stage in ("val", "test"):
        for label in ("lung", "background"):
            for score in ("f1", "jaccard", "precision", "recall"):
                assert 0 <= run.data.metrics[f"{stage}/{label}/{score}"] <= 1
        assert 0.5 < run.data.metrics[f"{stage}/accuracy"] <= 1
    assert [a.path for a in client.list_artifacts(run.info.run_id, "checkpoints")] == ["checkpoints/lungs.ckpt"]
    assert LungUNet.load(trained).experiment.name == "lungs_demo"


def test_table_2_has_the_papers_rows_below_its_test_sets():
    experiment = load_lungs_experiment(SHIPPED / "lungs_hide_and_seek.yaml")
    scores = {"lung/f1": 0.9, "lung/jaccard": 0.8, "lung/precision": 0.7, "lung/recall": 0.6, "accuracy": 0.5}
    test = {f"test/nih/{key}": value for key, value in scores.items()}
    table = lungs_table(experiment, "best epoch 3", {"val/accuracy": 0.5}, test)
    rows = [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]
    assert [column.header for column in table.columns][2:] == ["f1", "jaccard", "precision", "recall", "accuracy"]
    assert rows == [
        ["test nih", "lung", "0.900", "0.800", "0.700", "0.600", "0.500"],
        ["  paper, nih", "lung", "0.950", "0.906", "0.934", "0.968", "0.979"],
        ["  paper, nih", "background", "0.986", "0.973", "0.991", "0.981", "0.979"],
        ["  paper, cohen", "lung", "0.918", "0.854", "0.923", "0.919", "0.958"],
        ["  paper, cohen", "background", "0.971", "0.945", "0.971", "0.971", "0.958"],
    ]
