"""Dialog games on the shipped world with the shipped base.

python -m vlm_games.main --config=configs/scenes.py --workdir=/tmp/scenes
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Returns the default recipe: independent views, credit per answer."""
    c = ml_collections.ConfigDict()
    c.method = "dialog_games"
    c.seed = 0
    c.iterations = 3
    # Arms of the method; standard: its first, of games "unfiltered".
    c.controls = ("standard",)
    # A model directory of ours or of a public family, a hub id, or the name
    # of a shipped base: see docs/base.md; empty for the default one.
    c.base = ""
    # With a hub id: its config.json, beside this file, for --dry_run alone.
    c.shape = ""
    c.dtype = "float32"  # or bfloat16: of params and computation
    c.image_size = 0  # side of the images in games, pixels; 0: the model's own
    # A folder, a pattern, a manifest (.jsonl, .csv), "tfds:<name>:<split>",
    # "hf:<name>:<split>" or "docci:<folder>:<split>": see docs/images.md; empty
    # for the rendered target domain.
    c.images = ""
    c.tfds_dir = "~/tensorflow_datasets"  # where datasets of TFDS were prepared
    c.image_paths = "inside"  # the manifest's folder; or any: also elsewhere
    c.image_workers = 0  # threads that decode; 0: one per core, at most 8
    c.image_cache = ""  # folder that keeps decoded squares; empty: none are
    # No more candidates once so many tokens were said for them in an iteration;
    # 0: as many as the method's own fields say.
    c.generated_tokens = 0
    c.play_images = 3_000  # of the rendered target domain
    c.prompts = ml_collections.ConfigDict()  # see games.prompts.Prompts
    c.instructions = ml_collections.ConfigDict()  # see games.instructions

    c.encode_images = 256  # images encoded at once, on all devices together
    c.score_rows = 64  # texts scored at once, per model on the mesh

    # Steps to profile, as "main/1/play/0" (arm, round, shard of games) or
    # "main/1/train/5", for TensorBoard and Perfetto, under workdir/profile.
    c.profile = ()

    c.mesh = ml_collections.ConfigDict()  # see models.mesh
    c.mesh.fsdp = 1  # devices that share the state of a model in training
    c.mesh.tensor = 1  # devices that share every large param
    # Devices of a host that hold a model together while it plays: 1 for a whole
    # model on each; 0 for as many as mesh.tensor.
    c.mesh.play = 0

    c.play = ml_collections.ConfigDict()  # see games.protocol.GameSettings
    c.play.turns = 4
    c.play.style = "any"  # or yes_no, open
    c.play.guess = "spoken"  # or likelihood: the listener takes the likeliest
    c.play.guesser_temperature = 0.7
    c.play.describer_temperature = 0.5
    c.play.top_k = 0  # draw from the likeliest so many tokens; 0: from all
    c.play.top_p = 1.0  # and of these from so much of the probability
    c.play.guesser_tokens = 28
    c.play.answer_tokens = 4
    c.play.cut = False  # whether words at their limit are taken as they are
    c.play.remember = False  # whether the Describer sees the dialog so far
    c.play.questions = ()  # asked instead of the Guesser's own, if any
    c.play.slots = 128  # games at once

    c.game = ml_collections.ConfigDict()
    c.game.images = 4  # N
    c.game.games = 640  # in an iteration
    c.game.shard = 320  # games stored at a time
    # How the images of a game are drawn; or similar, clusters, frames, task.
    c.game.sets = "random"
    # A file of image sets: read if it is there, else written; empty for none.
    c.game.set_file = ""
    # Of similar ones: whose tower tells, a CLIP's or SigLIP's directory or hub
    # id; empty for the base's own.
    c.game.embedder = ""
    c.game.near_duplicate = 0.995  # a larger cosine is too similar
    c.game.pool = 0  # neighbours drawn among; 0: three for each wanted
    c.game.search = "exact"  # or faiss, for millions of images: may miss some
    c.game.filter = "views"  # see games.filters.FILTERS
    c.game.judges = 1  # independent views that judge the answers
    c.game.judge_view = 0.7  # strength of their augmentation
    c.game.describer_view = 0.0  # of the Describer's own view
    c.game.repeats = 0  # times the Guesser is asked again
    c.game.reshuffles = 0  # the same under other image orders
    c.game.credit = 0.3  # least credit of an answer to learn, nats
    # Whether leading questions are put openly, too (config.prompts.openly), and
    # answers that do not hold then are not learned.
    c.game.openly = True
    # Share of the answers with credit that is learned, of each answer to a kind
    # of question: those that the Describer was surest of. 0: any of them.
    c.game.sure = 0.5
    c.game.balance = True  # no answer outnumbers the next of its kind
    # Share of the games to learn from whose Guesser asks all its questions;
    # in the others, and wherever games are measured, it guesses when it likes.
    c.game.asks_all = 0.75
    # With Triangular Consistency: the share of the answers of a kind, among
    # those chosen otherwise, that is learned: what is told again best, by
    # config.triangle. 0: nothing is told again.
    c.game.consistent = 0.0
    # With STIC: share of the games to learn from in which a distractor is the
    # target, corrupted by config.stic.
    c.game.corrupted = 0.0

    c.stic = stic()
    c.triangle = triangle()
    c.text = text()

    c.train = ml_collections.ConfigDict()
    c.train.start = "last"  # or base: where each iteration starts from
    # Share of the base in the params that an iteration ends with; see
    # training.average.
    c.train.base_share = 0.25
    c.train.steps = 60
    c.train.learning_rate = 3e-4
    c.train.warmup = 8
    c.train.weight_decay = 0.02
    c.train.augment = 1.0  # strength of the student's augmentation
    c.train.save_every = 10  # steps
    c.train.replay_images = 1_000  # of the source
    # Manifest of labelled frames of a robot, replayed beside; empty for none.
    c.train.replay_frames = ""
    c.train.replay_last = 0.4  # chance that one is the last of its episode
    # Whether they are seen as augmented as what is learned, or as they are.
    c.train.replay_augmented = False
    # The base's own answers; or openly: where a question leads, what the base
    # says when it is put openly; or labels: the annotators'.
    c.train.replay_answers = "openly"
    c.train.frozen = ()  # parts that are not trained, as "vision"
    c.train.remat = False  # gradients compute anew what they need: less memory
    c.train.lora = ml_collections.ConfigDict()  # see training.lora.LoraConfig
    c.train.lora.rank = 0  # 0: all params are trained
    c.train.lora.alpha = 32.0
    c.train.lora.targets = (
        "query",
        "key",
        "value",
        "out",
        "up",
        "down",
        "gate",
    )
    c.train.lora.parts = ("decoder",)  # also connector, vision
    c.train.lora.draw = "uniform"  # or normal
    c.train.rows = ml_collections.ConfigDict()  # of a micro-batch, per model
    c.train.rows.describer = 24
    c.train.rows.guesser = 6
    c.train.rows.replay_answer = 16
    c.train.rows.replay_game = 3
    c.train.lengths = ml_collections.ConfigDict()  # of their rows, in tokens
    c.train.lengths.describer = 72
    c.train.lengths.guesser = 216
    c.train.lengths.replay_answer = 120
    c.train.lengths.replay_game = 200

    c.recipe = ml_collections.ConfigDict()  # as the base's, for replay
    c.recipe.agree = 0.35
    c.recipe.questions = 5
    c.recipe.describe = 1.0
    c.recipe.describe_weight = 1.0
    c.recipe.turns = 4
    c.recipe.wise = 0.8
    c.recipe.decided = 0.15
    c.recipe.probes = 5

    c.eval = ml_collections.ConfigDict()
    c.eval.seed = 0
    c.eval.split = "test"  # validation for choices
    c.eval.target_images = 500
    c.eval.source_images = 250
    c.eval.games = 512
    c.eval.guard_games = 128  # of each guard, of the main arm
    c.eval.rows = 128  # prompts at once, on each device, of what follows
    c.eval.choices = False  # whether multiple choices are measured
    # Whether questions are also asked behind the model's own description.
    c.eval.described = False
    c.eval.description_tokens = 40  # most of it
    # Manifests of labelled episodes, in which it is asked whether the robot
    # succeeded: of the domain that is played on, and of the base's; or empty.
    c.eval.robot = ""
    c.eval.robot_source = ""
    return c


def stic() -> ml_collections.ConfigDict:
    """Of `method = "stic"`; see methods/stic.py.

    `prefer` and `infuse` are its stages: fields of config.train that they have
    otherwise, and rows of their own.
    """
    c = ml_collections.ConfigDict()
    c.images = 512  # described in an iteration
    c.shard = 256  # of them stored at a time
    c.rows = 128  # of them described at once, on each device
    c.tokens = 40  # most of a description
    c.cut = False  # whether one at its limit is learned as it is
    c.temperature = 0.2
    c.invented = 0.5  # share of rejected ones by an invitation to invent
    # The shipped base knows one way to be asked: its inventions are hot ones.
    c.invent_temperature = 1.5
    c.low_side = 8  # short side of a blurred image, pixels
    c.brightness = 0.5  # of the other corrupted images
    c.hue = 0.3
    c.prefer = ml_collections.ConfigDict()
    c.prefer.beta = 0.1  # of DPO
    c.prefer.alpha = 1 / 1024  # of the term that holds up the chosen one
    c.prefer.learning_rate = 1e-4
    c.prefer.steps = 40
    c.prefer.augment = 0.0  # the reference saw the images as they are
    c.prefer.rows = ml_collections.ConfigDict()
    c.prefer.rows.description = 24
    c.prefer.lengths = ml_collections.ConfigDict()
    c.prefer.lengths.description = 96
    c.infused = 512  # labelled items of the source with an own description
    c.questions = 3  # of each of them
    c.infuse = ml_collections.ConfigDict()
    c.infuse.learning_rate = 1e-4
    c.infuse.steps = 30
    c.infuse.rows = ml_collections.ConfigDict()
    c.infuse.rows.infused = 24
    c.infuse.lengths = ml_collections.ConfigDict()
    c.infuse.lengths.infused = 120
    return c


def triangle() -> ml_collections.ConfigDict:
    """Of `method = "triangle"`; see methods/triangle.py.

    `tune` teaches the model that makes pairs, `learn` the model itself.
    """
    c = ml_collections.ConfigDict()
    c.images = 1_024  # asked about in an iteration
    c.shard = 512  # of them stored at a time
    c.rows = 128  # prompts at once, per model
    c.question_tokens = 16  # most of a question
    c.answer_tokens = 4
    c.temperature = 1.0  # of the pairs; what is reconstructed is greedy
    c.keep = 0.2  # the most consistent share of each type
    c.balance = True  # no answer outnumbers the next of its type
    # What a type is: stratum, the kind of question (of the rendered world, its
    # kind; else the first word); or form, of methods.similarity.FORMS.
    c.types = "stratum"
    c.similarity = "overlap"  # of tokens; or sentences: the extra `sentences`
    c.embedder = "WhereIsAI/UAE-Large-V1"  # of sentences: hub id, local path
    c.long_answer = 20  # words from which an answer is compared as a long one
    c.fixed = ()  # texts in questions and answers that are not compared
    c.hidden = (0.5, 0.2, 0.3)  # shares: question and answer, question, answer
    c.seeds = 512  # labelled items of the source
    c.tune = ml_collections.ConfigDict()
    c.tune.learning_rate = 1e-3
    c.tune.steps = 60
    c.tune.rows = ml_collections.ConfigDict()
    c.tune.rows.seed = 32
    c.tune.lengths = ml_collections.ConfigDict()
    c.tune.lengths.seed = 32
    c.learn = ml_collections.ConfigDict()
    c.learn.learning_rate = 3e-4
    c.learn.steps = 60
    c.learn.rows = ml_collections.ConfigDict()
    c.learn.rows.pair = 24
    c.learn.rows.seed = 8
    c.learn.lengths = ml_collections.ConfigDict()
    c.learn.lengths.pair = 32
    c.learn.lengths.seed = 32
    return c


def text() -> ml_collections.ConfigDict:
    """Of `method = "text"`, training on text alone; see methods/text.py."""
    c = ml_collections.ConfigDict()
    c.records = 1_024  # written in an iteration
    c.shard = 512  # of them stored at a time
    c.rows = 128  # of them written, or asked about, at once, on each device
    c.options = 4
    c.tokens = 72  # most of a record
    c.temperature = 1.0
    c.checks = 3  # times the answer is asked for again, options shuffled
    c.choice_tokens = 2  # most of such an answer
    c.balance = True  # no letter is right more often than another
    c.learn = ml_collections.ConfigDict()
    c.learn.learning_rate = 3e-4
    c.learn.steps = 60
    c.learn.frozen = ("vision", "connector")
    c.learn.rows = ml_collections.ConfigDict()
    c.learn.rows.text = 24
    c.learn.lengths = ml_collections.ConfigDict()
    c.learn.lengths.text = 96
    return c
