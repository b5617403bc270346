"""Who is measured, and how it is spoken to."""

import dataclasses
from collections.abc import Sequence

from vlm_games.data.tokenizer import Tokenizer
from vlm_games.games.answer import ROWS, Answer, Asked, answer
from vlm_games.games.instructions import Instructions
from vlm_games.games.play import Role
from vlm_games.games.prompts import Prompts
from vlm_games.sampling.engine import Engine


@dataclasses.dataclass(frozen=True)
class Speaker:
    """What a model is asked with, whatever its params.

    Attributes:
      engine: compiled functions of its architecture.
      tokenizer, prompts, instructions: of the model.
      rows: prompts at a time, on each device.
    """

    engine: Engine
    tokenizer: Tokenizer
    prompts: Prompts
    instructions: Instructions
    rows: int = ROWS

    def answer(
        self, role: Role, asked: Sequence[Asked], limit: int
    ) -> list[Answer]:
        """Greedy answers of at most `limit` tokens, in order."""
        return answer(
            self.engine, self.tokenizer, role, asked, limit, rows=self.rows
        )
