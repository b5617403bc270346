"""Exports of a run's workdir, and a step of TRL's trainers on them."""

import made_run
import pytest

from vlm_games.exporting import formats
from vlm_games.exporting.gather import gather
from vlm_games.methods.registry import METHODS
from vlm_games.workbench import build, config_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compiles")]


@pytest.fixture(scope="module")
def setup():
    return build(made_run.make_config())


@pytest.fixture(scope="module")
def workdir(setup, tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    return made_run.make_run(root, digests=setup.digests)


def test_the_export_is_what_the_run_learns_from(setup, workdir, tmp_path):
    config = config_of(workdir)
    assert config == setup.bench.config
    found = gather(setup, workdir, "main", 1, pairs=False)
    formats.write(found, "llava", tmp_path / "out")
    back = formats.read(tmp_path / "out")
    method = METHODS[config.method](setup.bench)
    records = workdir.candidates("main", 1, method.record)
    (stage,) = method.select(records, "main", 1, None).stages
    assert back.examples == stage.examples(None)
    facts = back.provenance
    assert facts["filter"] == "views" and facts["iteration"] == 1
    assert facts["base_sha256"] == setup.digests["base"]
    assert facts["config"]["game"]["images"] == 4
    for number, pixels in back.pixels.items():
        assert (pixels == setup.bench.images[number]).all()


def test_games_are_not_tied_to_images_that_changed(setup, tmp_path):
    digests = {**setup.digests, "images": "others"}
    workdir = made_run.make_run(tmp_path, digests=digests)
    with pytest.raises(ValueError, match="run's images changed"):
        gather(setup, workdir, "main", 1, pairs=False)


def test_controls_have_no_pairs(setup, workdir):
    with pytest.raises(ValueError, match="Pairs are of arm 'main'"):
        gather(setup, workdir, "unfiltered", 1, pairs=True)


# TRL's dependencies warn of one another.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["parquet", "dpo"])
def test_trl_takes_a_step(setup, workdir, tmp_path, name):
    torch = pytest.importorskip("torch")
    trl = pytest.importorskip("trl")
    import datasets
    import transformers
    from reference import make

    pairs = name == "dpo"
    found = gather(setup, workdir, "main", 1, pairs)
    formats.write(found, name, tmp_path / "out")
    rows = datasets.Dataset.from_parquet(
        str(tmp_path / "out" / "train.parquet"), cache_dir=str(tmp_path)
    )
    config, processor = make.shapes()["llava"]()
    model = make.save(config, processor, tmp_path / "model")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    before = model.lm_head.weight.detach().clone()
    settings, trainer = (
        (trl.DPOConfig, trl.DPOTrainer)
        if pairs
        else (trl.SFTConfig, trl.SFTTrainer)
    )
    arguments = settings(
        output_dir=str(tmp_path / "trl"),
        max_steps=1,
        max_length=None,
        learning_rate=0.1,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
    )
    others = {}
    if pairs:
        kind = transformers.AutoModelForImageTextToText
        others["ref_model"] = kind.from_pretrained(tmp_path / "model")
    done = trainer(
        model=model,
        **others,
        args=arguments,
        train_dataset=rows,
        processing_class=processor,
    ).train()
    assert done.global_step == 1 and done.training_loss > 0
    assert not torch.equal(model.lm_head.weight, before)
