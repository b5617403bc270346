"""The rules: what a game is given, what it leaves, what aborts it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class GameSettings:
    """How games are played.

    Attributes:
      turns: questions that the Guesser may ask; then it must guess.
      style: "yes_no", "open" or "any" questions.
      guess: "spoken", the Guesser names the image in words, or "likelihood",
        it asks all its questions and then takes the image under which the
        answers are likeliest (see `listener`).
      guesser_temperature: of the Guesser's sampling; 0 is greedy.
      describer_temperature: of the Describer's.
      top_k: of both roles, see `sampling.session.Truncation`.
      top_p: the same.
      guesser_tokens: most tokens of one turn of the Guesser.
      answer_tokens: most tokens of one answer of the Describer.
      cut: whether words that reach their limit count as ended there, instead
        of aborting the game.
      remember: whether the Describer sees the dialog so far, or only the
        question.
      questions: if any, these are asked, and not the Guesser's own; only with
        guess="likelihood".
      slots: games under way at once, on all devices together.
    """

    turns: int = 4
    style: str = "any"
    guess: str = "spoken"
    guesser_temperature: float = 1.0
    describer_temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guesser_tokens: int = 24
    answer_tokens: int = 4
    cut: bool = False
    remember: bool = False
    questions: tuple[str, ...] = ()
    slots: int = 256


@dataclasses.dataclass(frozen=True)
class GameSpec:
    """One game before it is played.

    Attributes:
      game: its number within the iteration; with the seed and the iteration
        it fixes every draw.
      images: indices into the image bank, in the Guesser's order.
      target: position of the target among them.
      script: questions and answers that are read out instead of asked, for
        asking the Guesser again; None for a game that is really played.
      asks_all: whether it may not guess before it asked all its questions: a
        guess word of one token cannot be said until then.
    """

    game: int
    images: tuple[int, ...]
    target: int
    script: tuple[tuple[str, str], ...] | None = None
    asks_all: bool = False


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One question and its answer, with what the roles gave them (nats)."""

    question: str
    answer: str
    summary: str
    question_logprob: float
    answer_logprob: float


@dataclasses.dataclass(frozen=True)
class PlayedGame:
    """One game after it was played.

    Attributes:
      spec: what it was given.
      exchanges: the complete turns.
      final_summary: the Guesser's last summary.
      guess: the position named; None if the game was aborted, or if the
        guess is the listener's and still to come.
      reason: why it was aborted, or None.
    """

    spec: GameSpec
    exchanges: tuple[Exchange, ...]
    final_summary: str
    guess: int | None
    reason: str | None

    @property
    def success(self) -> bool:
        """Whether the Guesser named the target."""
        return self.reason is None and self.guess == self.spec.target

    @property
    def outcome(self) -> str:
        """ "success", "lose" or "aborted"."""
        if self.reason is not None:
            return "aborted"
        return "success" if self.success else "lose"
