"""The preference loss beside TRL's DPOTrainer, live, on a small LLaVA.

Skipped where the extra `reference` is not installed. Policy and reference are
two checkpoints that transformers saved and our loader reads; TRL collates the
pairs, computes its loss and the gradients; ours are of pairs packed into rows.

Two things are brought into line. The image token is out of the running here
(`models.packed`), so the head over there gets a bias that puts it out. And
TRL's positive term, loss type "sft", is the mean over all chosen tokens of a
batch where STIC sums within a response and takes the mean over pairs: its
weight is alpha times the tokens per pair.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import common

torch = pytest.importorskip("torch")
trl = pytest.importorskip("trl")
# TRL's dependencies warn of one another.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

import datasets  # noqa: E402
from reference import make  # noqa: E402

from vlm_games.data.examples import Example, read, said  # noqa: E402
from vlm_games.data.packing import BatchShape, encode, pack  # noqa: E402
from vlm_games.data.tokenizer import wrap  # noqa: E402
from vlm_games.hub.pretrained import load_pretrained  # noqa: E402
from vlm_games.models import vlm as models  # noqa: E402
from vlm_games.models.mesh import make_mesh  # noqa: E402
from vlm_games.sampling.scoring import Scorer  # noqa: E402
from vlm_games.training.losses import preference  # noqa: E402

BETA, ALPHA = 0.1, 1 / 32
TOLERANCE = 1e-5  # relative error of a whole array, float32
SIDE = 28  # pixels; images of the model's size are not made smaller
CUE = "ASSISTANT:"
# Of ours, what TRL calls it.
NAMES = {
    "reward_chosen": "rewards/chosen",
    "reward_rejected": "rewards/rejected",
    "margin": "rewards/margins",
    "accuracy": "rewards/accuracies",
}
# Images, instruction, chosen and rejected response.
PAIRS = (
    ((0,), "USER: <image>\nwhat color is it ? ", " red</s>", " a cat .</s>"),
    (
        (1, 2),
        "USER: <image>\n<image>\nhow many birds ? ",
        " there are three birds</s>",
        " two</s>",
    ),
    ((3,), "USER: <image>\nwhere is it ? ", " at the left .</s>", " no</s>"),
)
TEXT = (
    ((), "USER: what color is it ? ", " red</s>", " it is a cat .</s>"),
    ((), "USER: how many ? ", " there are three birds</s>", " two</s>"),
)


def draw_images():
    return [common.draw_image(SIDE, SIDE, seed) for seed in range(4)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Checkpoints of (policy, reference): weights that differ by a little."""
    config, processor = make.shapes()["llava"]()
    policy, reference = (tmp_path_factory.mktemp(n) for n in ("now", "before"))
    model = make.save(config, processor, policy)
    torch.manual_seed(0)
    with torch.no_grad():
        for x in model.parameters():
            x += 0.1 * x.std(correction=0) * torch.randn_like(x)
    model.save_pretrained(reference)
    processor.save_pretrained(reference)
    return policy, reference


def torch_model(folder):
    """The library's model, its image token out of the running."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32
    )
    bias = torch.zeros(model.lm_head.out_features)
    bias[model.config.image_token_id] = -1e9
    model.lm_head.register_parameter(
        "bias", torch.nn.Parameter(bias, requires_grad=False)
    )
    return model


def rows(pairs) -> datasets.Dataset:
    images = draw_images()
    found = [
        {"prompt": prompt + CUE, "chosen": chosen, "rejected": rejected}
        for _, prompt, chosen, rejected in pairs
    ]
    for row, (numbers, *_) in zip(found, pairs, strict=True):
        if numbers:
            row["images"] = [images[i] for i in numbers]
    return datasets.Dataset.from_list(found)


def make_trainer(folders, folder, pairs, positive: bool):
    """TRL's trainer of the pairs, and the batch that it collates."""
    from transformers import AutoProcessor

    loss = {"loss_type": ["sigmoid"]}
    processor = AutoProcessor.from_pretrained(folders[0])
    if positive:
        count = [len(processor.tokenizer.encode(p[2])) for p in pairs]
        weight = ALPHA * sum(count) / len(pairs)
        loss = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, weight]}
    arguments = trl.DPOConfig(
        output_dir=str(folder),
        beta=BETA,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        per_device_train_batch_size=len(pairs),
        report_to=[],
        **loss,
    )
    trainer = trl.DPOTrainer(
        torch_model(folders[0]),
        torch_model(folders[1]),
        arguments,
        train_dataset=rows(pairs),
        processing_class=processor,
    )
    return trainer, trainer.data_collator(list(trainer.train_dataset))


def theirs(folders, folder, pairs, positive):
    """(loss, metrics, gradient as params of ours, collated batch), by TRL."""
    trainer, batch = make_trainer(folders, folder, pairs, positive)
    model = trainer.model.train()
    loss = trainer.compute_loss(model, dict(batch))
    loss.backward()
    metrics = {k: v[-1] for k, v in trainer._metrics["train"].items()}
    # The gradient is saved as a checkpoint is, and read as one.
    model.lm_head.bias = None
    with torch.no_grad():
        for x in model.parameters():
            x.copy_(torch.zeros_like(x) if x.grad is None else x.grad)
    model.save_pretrained(folder / "gradient")
    trainer.processing_class.save_pretrained(folder / "gradient")
    gradient = load_pretrained(folder / "gradient", "float32").params
    return loss.item(), metrics, gradient, batch


def our_examples(policy, reference, pairs):
    """The pairs, with what our scorer says of them under the reference."""
    pixels = np.stack([np.asarray(image) for image in draw_images()])
    examples = [
        Example(
            numbers,
            (read(prompt),),
            tuple((read(CUE), said(words)) for words in responses),
        )
        for numbers, prompt, *responses in pairs
    ]
    bank = models.encode_images(reference.config, reference.params, pixels)
    scorer = Scorer(
        policy.config,
        wrap(policy.tokenizer),
        make_mesh(jax.devices()[:1]),
        rows=len(examples),
    )
    bank = bank.reshape(-1, bank.shape[-1]) if pairs[0][0] else None
    scores = scorer.score(reference.params, bank, examples)
    found = [
        Example(
            e.images, e.trunk, e.branches, tuple(s.log_prob for s in scored)
        )
        for e, scored in zip(examples, scores, strict=True)
    ]
    return found, pixels


def ours(folders, pairs, alpha, packed_rows):
    """(means over pairs, gradient of theirs, the encoded pairs), by us."""
    policy, reference = (load_pretrained(f, "float32") for f in folders)
    examples, pixels = our_examples(policy, reference, pairs)
    tokenizer, per_image = (
        wrap(policy.tokenizer),
        policy.config.tokens_per_image,
    )
    encoded = [encode(e, tokenizer, per_image) for e in examples]
    images = 6 if pairs[0][0] else 0
    shape = BatchShape(packed_rows, 192, images)
    batch, used = pack(encoded, shape, per_image)
    assert used == len(pairs)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def compute(params, images):
        return preference(
            policy.config, params, batch, images, beta=BETA, alpha=alpha
        )

    seen = jnp.asarray(pixels[batch.images])
    (loss, totals), gradient = compute(policy.params, seen)
    means = {k: float(v) / len(pairs) for k, v in totals.items()}
    means["loss"] = float(loss) / len(pairs)
    gradient = jax.tree.map(lambda g: np.asarray(g) / len(pairs), gradient)
    assert means["weight"] == 1.0
    return means, gradient, encoded


def relative_error(found, expected) -> float:
    """norm(found - expected) / norm(expected)."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def assert_same_gradients(found, expected, least_share):
    """Param by param; so large a share of them must have a gradient at all."""
    flat, _ = jax.tree_util.tree_flatten_with_path(found)
    sizes = []
    for (path, x), y in zip(flat, jax.tree.leaves(expected), strict=True):
        name = jax.tree_util.keystr(path)
        sizes.append(np.linalg.norm(y))
        # A bias of keys has none but for rounding: softmax does not see it.
        if sizes[-1] > 1e-6:
            assert relative_error(x, y) < TOLERANCE, name
        else:
            assert np.linalg.norm(x) < 1e-6, name
    assert np.mean(np.array(sizes) > 1e-6) > least_share


@pytest.mark.parametrize(
    "pairs, positive",
    [(PAIRS, False), (PAIRS, True), (TEXT, True)],
    ids=["dpo", "stic", "stic of text alone"],
)
def test_loss_rewards_and_gradients_are_those_of_dpo_trainer(
    folders, tmp_path, pairs, positive
):
    loss, metrics, expected, collated = theirs(
        folders, tmp_path, pairs, positive
    )
    alpha, count = ALPHA if positive else 0.0, len(pairs)
    found, gradient, encoded = ours(folders, pairs, alpha, packed_rows=2)
    for i, example in enumerate(encoded):
        for branch, row in ((1, i), (2, i + count)):
            here = (example.branches == 0) | (example.branches == branch)
            real = collated["attention_mask"][row].bool()
            tokens = collated["input_ids"][row][real].tolist()
            assert example.tokens[here].tolist() == tokens
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    for name, their_name in NAMES.items():
        # Rewards are small differences of log-probabilities of -50 or so.
        expected_mean = pytest.approx(metrics[their_name], rel=1e-4, abs=5e-6)
        assert found[name] == expected_mean, name
    assert abs(found["margin"]) > 0.01
    assert_same_gradients(gradient, expected, 0.8 if pairs is PAIRS else 0.2)
