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
