"""Benchmarks by name."""

from vlm_games.evaluation.benchmarks.benchmark import Benchmark
from vlm_games.evaluation.benchmarks.chartqa import ChartQa
from vlm_games.evaluation.benchmarks.gqa import Gqa
from vlm_games.evaluation.benchmarks.llava_bench import LlavaBench
from vlm_games.evaluation.benchmarks.mathvista import MathVista
from vlm_games.evaluation.benchmarks.mm_vet import MmVet
from vlm_games.evaluation.benchmarks.mmbench import MmBench
from vlm_games.evaluation.benchmarks.nlvr import Nlvr, Nlvr2
from vlm_games.evaluation.benchmarks.pope import Pope
from vlm_games.evaluation.benchmarks.scienceqa import ScienceQa
from vlm_games.evaluation.benchmarks.textvqa import TextVqa
from vlm_games.evaluation.benchmarks.viva import Viva
from vlm_games.evaluation.benchmarks.vqav2 import VqaV2

BENCHMARKS: dict[str, Benchmark] = {
    "vqav2": VqaV2(),
    "pope": Pope(),
    "gqa": Gqa(),
    "scienceqa": ScienceQa(),
    "textvqa": TextVqa(),
    "chartqa": ChartQa(),
    "mmbench": MmBench(),
    "mm_vet": MmVet(),
    "llava_bench": LlavaBench(),
    "mathvista": MathVista(),
    "nlvr": Nlvr(),
    "nlvr2": Nlvr2(),
    "viva": Viva(),
}
